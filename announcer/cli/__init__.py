"""Commands. Errors name the variable and the remedy, never a traceback.

A command is a function of the same name in the module that `COMMANDS` names; it is loaded when it
is wanted, so that help and completion are quick.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

THEMES = {
    "To begin": {"init": "first", "setup": "server", "connect": "joining"},
    "To run it": {
        "serve": "running",
        "check": "accounts",
        "preview": "accounts",
        "test": "accounts",
        "simulate": "running",
    },
    "To look and to act": {
        "history": "records",
        "retry": "records",
        "pause": "hush",
        "resume": "hush",
        "announce": "hush",
        "backup": "records",
    },
    "Beside": {"demo": "running", "docs": "papers", "completion": "papers"},
}
"""In the order in which somebody meets them."""
COMMANDS = {name: module for theme in THEMES.values() for name, module in theme.items()}
TROUBLE, UNUSABLE, FAULT, STOPPED, UNHEARD = 1, 2, 70, 130, 141
STATUSES = {
    0: "What was asked for is done, or all is well.",
    TROUBLE: "It could not be done, or something that was looked at is not well.",
    UNUSABLE: "Nothing was tried: an option, an argument or a setting can not be used.",
    FAULT: "A fault of Announcer itself; please report what it said.",
    STOPPED: "Stopped by you (Ctrl-C).",
    UNHEARD: "Whoever read the output went away.",
}
"""What a script may rely on."""


class Commands(click.Group):
    """All of them, and the end of every error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"{__name__}.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By theme, and each with its whole sentence."""
        for theme, names in THEMES.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, " ".join((one.help or "").split())) for name, one in commands if one]
            with formatter.section(theme):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Before click makes 1 of it."""
        try:
            return super().invoke(ctx)
        except (click.Abort, KeyboardInterrupt, EOFError):
            raise click.exceptions.Exit(STOPPED) from None
        except BrokenPipeError:
            raise click.exceptions.Exit(UNHEARD) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode, **extra)
        return _end(self._run(args, prog_name, complete_var, extra))

    def _run(
        self,
        args: Sequence[str] | None,
        prog_name: str | None,
        complete_var: str | None,
        extra: dict[str, Any],
    ) -> int:
        """The exit status."""
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except SystemExit as end:
            status = end.code
        except click.ClickException as problem:
            problem.show()
            return problem.exit_code
        except (click.Abort, KeyboardInterrupt):  # before there was a command
            status = STOPPED
        except OSError as problem:
            if problem.filename is None and problem.errno == errno.ENOSPC:
                return _can_not_write(problem)
            if problem.filename is None:
                return _fault(problem)
            click.echo(f"{problem.filename}: {problem.strerror}", err=True)
            return TROUBLE
        except Exception as problem:  # noqa: BLE001  # the one place where a command ends
            return _fault(problem)
        if status == STOPPED:
            click.echo("\nstopped", err=True)
        return status if isinstance(status, int) else 0


def _can_not_write(problem: OSError) -> int:
    _let_go()
    click.echo(f"the output can not be written: {problem.strerror}", err=True)
    return TROUBLE


def _fault(problem: BaseException) -> int:
    """Tells what and where, and not with which values: there may be a secret among them."""
    places, trace = [], problem.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        if "announcer" in Path(code.co_filename).parts:
            places.append(f"{Path(code.co_filename).stem}.{code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    where = " > ".join(places[-6:])
    click.echo(
        f"a fault of Announcer ({type(problem).__name__} in {where}): please report", err=True
    )
    return FAULT


def _end(status: int) -> NoReturn:
    """Python itself would flush later, and show a traceback if nobody reads any more."""
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except BrokenPipeError:
        status = UNHEARD
        _let_go()
    except OSError as problem:
        status = _can_not_write(problem)
    sys.exit(status)


def _let_go() -> None:
    """Of what is not written yet: it would be tried again at the very end."""
    with suppress(AttributeError, OSError, ValueError):  # there is none, or it is made up
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="announcer")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Tell your audience, on every network you use, that your Owncast stream is live."""
    if os.environ.get("NO_COLOR"):  # no-color.org; click looks only for a terminal
        ctx.color = False
