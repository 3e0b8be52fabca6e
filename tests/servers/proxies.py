"""The reverse proxies of examples/, real ones, with what an operator has to fill in."""

import re
from pathlib import Path

from tests.rogue import Authority
from tests.servers import Program, answers, free_port, program

EXAMPLES = Path(__file__).parents[2] / "examples"
BELOW = "/announcer"
"""Where the second half of each example has us."""
_OURS = "127.0.0.1:8000"


class Nginx:
    """nginx before the service at *port*, at the root of its address and below `BELOW`."""

    def __init__(self, folder: Path, port: int) -> None:
        command = program("nginx")
        at, authority = free_port(), Authority(folder)
        self.url, self.trust, self._folder = f"https://localhost:{at}", authority.file, folder
        certificate = authority.certificate("localhost")
        example = _filled(
            "nginx.conf",
            {
                r"listen 443 ssl": f"listen 127.0.0.1:{at} ssl",
                r"/etc/ssl/\S+[.](?:pem|key)": str(certificate),
                r"/var/log/nginx": str(folder),
                re.escape(_OURS): f"127.0.0.1:{port}",
                r"(?m)^    # ?(    \S.*|location .*|})$": r"    \1",
            },
        )
        (folder / "site.conf").write_text(example, "utf-8")
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
            f"http {{ client_body_temp_path {folder}; proxy_temp_path {folder};\n"
            f"fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
            f"include {folder}/site.conf; }}\n",
            "utf-8",
        )
        place, errors = folder / "nginx.conf", folder / "error.log"
        self._program = Program([command, "-p", folder, "-e", errors, "-c", place], folder)
        self._program.wait_until(lambda: answers(at))

    def logs(self) -> str:
        """All that it wrote, anywhere."""
        return _written(self._folder)

    def stop(self) -> None:
        self._program.stop()


class Caddy:
    """Caddy, the same."""

    def __init__(self, folder: Path, port: int) -> None:
        command = program("caddy")
        at, authority = free_port(), Authority(folder)
        self.url, self.trust, self._folder = f"https://localhost:{at}", authority.file, folder
        certificate = authority.certificate("localhost")
        example = _filled(
            "Caddyfile",
            {
                r"(?m)^{$": "{\n\tadmin off\n\tauto_https disable_redirects",
                r"live-bot.example.org {": f"{self.url} {{\n\ttls {certificate} {certificate}",
                # Below the same name: Caddy's own rules say which of the two comes first.
                r"(?m)^\timport announcer$": "\thandle {\n\t\timport announcer\n\t}\n#below",
                r"10s": "50ms",
                re.escape(_OURS): f"127.0.0.1:{port}",
            },
        )
        below = re.search(r"(?m)^# (\tredir(?:.*\n)+?# \t}\n)", example)
        assert below, "the example for a path has changed"
        example = example.replace("#below", re.sub(r"(?m)^# ?", "", below[1]))
        (folder / "Caddyfile").write_text(example, "utf-8")
        env = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        place = folder / "Caddyfile"
        run = [command, "run", "--adapter", "caddyfile", "--config", str(place)]
        self._program = Program(run, folder, env)
        self._program.wait_until(lambda: answers(at))

    def logs(self) -> str:
        return _written(self._folder)

    def stop(self) -> None:
        self._program.stop()


def _filled(name: str, places: dict[str, str]) -> str:
    """The example *name* with each of *places* replaced; every one of them has to be in it."""
    text = (EXAMPLES / name).read_text("utf-8")
    for place, filled in places.items():
        text, found = re.subn(place, filled, text)
        assert found, f"{name} has no {place}"
    return text


def _written(folder: Path) -> str:
    logs = [path.read_text("utf-8", "replace") for path in sorted(folder.rglob("*.log"))]
    return "".join(logs)
