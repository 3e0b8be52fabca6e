"""What is written for people and for shells, from the code."""

import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from announcer import reference
from announcer.cli import COMMANDS, STATUSES, TROUBLE, ground, main
from announcer.networks import NotInstalledError

SHELLS = ("bash", "zsh", "fish")
MANUAL = "command-line.md"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("docs"))
@click.option("--check", "compare", is_flag=True, help="Only say whether they are up to date.")
def docs(folder: Path, compare: bool) -> None:
    """Write the generated pages of docs/: settings, networks and the command line."""
    stale = []
    try:
        pages = {**reference.pages(), MANUAL: manual()}
    except NotInstalledError as missing:
        ground.fail(f"these pages tell of every network: {missing}")
    for name, text in pages.items():
        path = folder / name
        if compare:
            if not path.is_file() or path.read_text("utf-8") != text:
                stale.append(str(path))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    for path_name in stale:
        click.echo(f"{path_name} is out of date: run `announcer docs`", err=True)
    sys.exit(TROUBLE if stale else 0)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete our commands."""
    kind = get_completion_class(shell)
    if kind is None:
        ground.fail(f"there is no completion for {shell}")
    click.echo(kind(main, {}, "announcer", "_ANNOUNCER_COMPLETE").source())


def manual() -> str:
    """The page about the command line, as Markdown."""
    parts = [
        "# The command line",
        reference.MADE,
        "`announcer COMMAND --help` says the same. Settings are read from `.env` in the folder "
        "where a command runs, and from the environment, which wins. Results go to the standard "
        "output, all else to the error output. Colours are for terminals only, and never where "
        "`NO_COLOR` is set. Every question has an option: without a terminal nobody is asked.",
        "## Exit status",
        "\n".join(
            [
                "| Status | |",
                "|---|---|",
                *(f"| {status} | {words} |" for status, words in STATUSES.items()),
            ]
        ),
        "## Completion",
        "\n".join(
            [
                "| Shell | Once |",
                "|---|---|",
                "| bash | `echo 'eval \"$(announcer completion bash)\"' >> ~/.bashrc` |",
                "| zsh | `echo 'eval \"$(announcer completion zsh)\"' >> ~/.zshrc` |",
                "| fish | `announcer completion fish > "
                "~/.config/fish/completions/announcer.fish` |",
            ]
        ),
        "## Commands",
    ]
    # As it is made for a run: a command keeps the help option that it was first seen with.
    context = click.Context(main, info_name="announcer", **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(context, name)
        if command:
            parts += _section(command, click.Context(command, info_name=name, parent=context))
    return "\n\n".join(parts) + "\n"


def _section(command: click.Command, context: click.Context, heading: str = "###") -> list[str]:
    usage = " ".join(command.collect_usage_pieces(context)).removeprefix("[OPTIONS]").strip()
    parts = [f"{heading} `{context.command_path} {usage}".rstrip() + "`"]
    parts.append(" ".join((command.help or "").split()))
    rows = [
        row
        for option in command.get_params(context)
        if isinstance(option, click.Option)
        if (row := option.get_help_record(context)) and "--help" not in row[0]
    ]
    if rows:
        lines = [f"| `{names}` | {_cell(words)} |" for names, words in rows]
        parts.append("\n".join(["| Option | |", "|---|---|", *lines]))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                inside = click.Context(below, info_name=name, parent=context)
                parts += _section(below, inside, f"{heading}#")
    return parts


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")
