"""Real servers for tests: each a program of its own, on loopback, thrown away after the run.

`tests/servers/install` puts the programs into `.servers/`; `fixtures` hands the servers to tests.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

INSTALLED = Path(__file__).parents[2] / ".servers"

START_SECONDS = 60.0
"""How long a server may take to answer; a busy machine needs ten times the usual 3 s."""
STOP_SECONDS = 10.0


class NotInstalledError(Exception):
    """A server's program is not on this machine. str() says which."""


class Program:
    """A running program. Its output goes to `output.log` in *folder*; stop it with `stop`."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = Path(command[0]).name
        self._log = folder / "output.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Returns once *ready* says so. Raises RuntimeError, with the output, if it never does."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                how = f"ended with status {self._process.returncode}" if ended else "did not answer"
                raise RuntimeError(f"{self.name} {how}:\n{self.output[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError):  # what it had started and left behind
            for _ in range(50):
                os.killpg(self._process.pid, signal.SIGKILL)
                time.sleep(0.02)  # its port is free when it is gone, not when it was told to go
        if self._process.stdin:
            self._process.stdin.close()


def program(name: str) -> str:
    """Where the system has it, daemons too, or `install` unpacked it. Raises NotInstalledError."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", str(INSTALLED / name)]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise NotInstalledError(f"{name} is not installed")
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether something on loopback accepts connections at *port*."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def must_be_there() -> bool:
    """Whether a missing server is a failure: always where tests decide about a change."""
    return os.environ.get("CI") == "true" or os.environ.get("ANNOUNCER_REAL_SERVERS") == "required"
