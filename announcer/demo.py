"""A broadcast with nothing configured: the real service, and a small town of made-up networks.

The town speaks as much of each network's real protocol as our adapters use, on this machine only.
It keeps a wall of what its people see, and the wall is the judge.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import requests
from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from announcer import rehearsal, wire, wiring
from announcer.network import DeliveryError
from announcer.networks import places

TITLE = "Fitting a dovetail drawer"
NAME = "Kestrel Workshop"
HOLD, GRACE = 3, 4
"""Seconds: the real defaults are 30 and 300, too long to watch."""


class _Quiet(WSGIRequestHandler):
    """The town's traffic is no news: the wall tells what came of it."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002, ARG002  # theirs
        return


@dataclass
class Seen:
    """What the people of one network see of one post. *was* holds its earlier texts."""

    network: str
    text: str
    was: list[str] = field(default_factory=list)
    up: bool = True


class Town:
    """Owncast, Mastodon, Bluesky and Discord in one server on loopback, and what they show."""

    def __init__(self) -> None:
        self.wall: dict[str, Seen] = {}
        self.live = False
        app = Flask("town")
        views: dict[str, Callable[..., ResponseReturnValue]] = {
            "/api/status": self._status,
            "/api/config": lambda: {"tags": ["woodwork", "repair"], "nsfw": False},
            "/api/integrations/chat/system": self._chat,
            "/api/v2/instance": lambda: {"configuration": {"statuses": {"max_characters": 500}}},
            "/api/v1/statuses": self._mastodon,
            "/api/v1/statuses/<key>": self._mastodon,
            "/xrpc/com.atproto.server.createSession": self._session,
            "/xrpc/com.atproto.repo.putRecord": self._record,
            "/xrpc/com.atproto.repo.deleteRecord": self._forget,
            "/api/v10/webhooks/1/<word>": self._discord,
            "/api/v10/webhooks/1/<word>/messages/<key>": self._discord,
            "/seen/<key>": lambda key: (self.wall[key].text, {"Content-Type": "text/plain"}),
        }
        for rule, view in views.items():
            app.add_url_rule(rule, rule, view, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", 0, app, threaded=True, request_handler=_Quiet
        )
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def shows(self) -> Counter[str]:
        """How many posts each network shows now."""
        return Counter(seen.network for seen in list(self.wall.values()) if seen.up)

    def _show(self, network: str, text: str, key: str | None = None) -> str:
        key = key or f"{len(self.wall) + 1}"
        if key in self.wall and self.wall[key].text != text:
            seen = self.wall[key]
            self.wall[key] = Seen(network, text, [*seen.was, seen.text])
        elif key not in self.wall:
            self.wall[key] = Seen(network, text)
        return key

    def _status(self) -> ResponseReturnValue:
        since = "2026-01-01T00:00:00Z" if self.live else None
        return {"online": self.live, "lastConnectTime": since, "streamTitle": TITLE}

    def _chat(self) -> ResponseReturnValue:
        self._show("owncast", request.get_json()["body"])
        return {"message": "sent", "success": True}

    def _mastodon(self, key: str | None = None) -> ResponseReturnValue:
        key = self._show("mastodon", request.get_json()["status"], key)
        return {"id": key, "url": f"{self.address}/seen/{key}"}

    def _session(self) -> ResponseReturnValue:
        return {
            "did": "did:plc:demo",
            "handle": "kestrel.test",
            "accessJwt": "a",
            "refreshJwt": "r",
        }

    def _record(self) -> ResponseReturnValue:
        record = request.get_json()
        self._show("bluesky", record["record"]["text"], record["rkey"])
        uri = f"at://did:plc:demo/app.bsky.feed.post/{record['rkey']}"
        return {"uri": uri, "cid": "bafydemo"}

    def _forget(self) -> ResponseReturnValue:
        self.wall[request.get_json()["rkey"]].up = False
        return {}

    def _discord(self, word: str, key: str | None = None) -> ResponseReturnValue:
        if request.method == "GET":
            return {"id": "1", "name": word, "guild_id": "1", "channel_id": "1"}
        return {"id": self._show("discord", request.get_json()["content"], key), "channel_id": "1"}


def run(port: int, stay: int | None) -> int:
    """Play it, then keep the page up for *stay* seconds (None: until Ctrl-C). The exit status is 0
    if every network shows exactly one post.
    """
    with tempfile.TemporaryDirectory(prefix="announcer-demo-") as folder:
        town = Town()
        variables = _variables(town, port, Path(folder))
        settings = wiring.read(variables)
        service = subprocess.Popen(
            [sys.executable, "-m", "announcer", "serve"],
            env={**_inherited(), **variables},
            cwd=folder,
        )
        try:
            _wait_until_up(rehearsal.place(settings.service), service)
            click.secho(f"\nLook: http://127.0.0.1:{port}/\n", bold=True)
            _play(town, settings)
            good = _report(town, settings)
            _linger(stay, port)
        except KeyboardInterrupt:
            good = True
        finally:
            service.terminate()
            service.wait(timeout=60)
            town.close()
    return 0 if good else 1


def _variables(town: Town, port: int, folder: Path) -> dict[str, str]:
    return {
        "ANNOUNCER_DATABASE_URL": f"sqlite:///{folder}/announcer.db",
        "ANNOUNCER_PORT": str(port),
        "ANNOUNCER_HOLD": f"{HOLD}s",
        "ANNOUNCER_GRACE": f"{GRACE}s",
        "ANNOUNCER_LOG_LEVEL": "error",
        "OWNCAST_URL": town.address,
        "OWNCAST_WEBHOOK_SECRET": secrets.token_urlsafe(),
        "OWNCAST_ACCESS_TOKEN": secrets.token_urlsafe(),
        "MASTODON_API_BASE_URL": town.address,
        "MASTODON_ACCESS_TOKEN": secrets.token_urlsafe(),
        "BLUESKY_SERVICE": town.address,
        "BLUESKY_IDENTIFIER": "kestrel.test",
        "BLUESKY_APP_PASSWORD": secrets.token_urlsafe(),
        "DISCORD_WEBHOOK_URL": f"{town.address}/api/webhooks/1/{secrets.token_urlsafe()}",
    }


def _inherited() -> dict[str, str]:
    """Our environment without settings of a real Announcer: the demo must reach nobody."""
    ours = ("ANNOUNCER_", "OWNCAST_", *(f"{name.upper()}_" for name in places()))
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _wait_until_up(place: str, service: subprocess.Popen[bytes]) -> None:
    session = wire.Session(place)
    for _ in range(200):
        if service.poll() is not None:
            raise click.ClickException("the service did not start: see above")
        try:
            if session.get(f"{place}/readyz").status_code == 200:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise click.ClickException("the service does not answer")


def _play(town: Town, settings: wiring.Settings) -> None:
    begun = time.monotonic()

    def say(what: str) -> None:
        click.echo(f"{time.monotonic() - begun:5.1f} s  {what}")

    def tell(what: str) -> None:
        server = settings.channels[wiring.DEFAULT]
        try:
            status, said = rehearsal.send(
                rehearsal.webhook(what, TITLE, NAME), server, settings.service
            )
        except DeliveryError as problem:
            raise click.ClickException(f"the service does not answer ({problem})") from None
        say(f"  its webhook was answered {status} {said}".rstrip())

    say("the streamer presses Start")
    town.live = True
    tell("start")
    say(f"the hold: {HOLD} s, so that a false start is never announced")
    _until(lambda: len(town.wall) == len(settings.destinations))
    for seen in list(town.wall.values()):
        say(f"{seen.network} shows: {' '.join(seen.text.split())}")
    say("the connection drops")
    town.live = False
    tell("stop")
    time.sleep(GRACE / 2)
    say("and is back within the grace: nobody has seen anything")
    town.live = True
    tell("start")
    time.sleep(HOLD + 1)
    say("the streamer presses Stop")
    town.live = False
    tell("stop")
    say(f"the grace: {GRACE} s, then what was said is made true")
    _until(lambda: not any("is live" in seen.text for seen in _ending(town)))
    for seen in list(town.wall.values()):
        how = "now shows" if seen.was else "shows"
        say(f"{seen.network} {how}: {' '.join(seen.text.split())}")


def _ending(town: Town) -> list[Seen]:
    """The posts that can be changed: those of Mastodon and Discord."""
    return [seen for seen in list(town.wall.values()) if seen.network in ("mastodon", "discord")]


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)


def _report(town: Town, settings: wiring.Settings) -> bool:
    """Whether each network was told once, and Bluesky, which shows no edits, of the end as well."""
    shown, expected = town.shows(), Counter([*settings.destinations, "bluesky"])
    click.echo()
    for name, number in sorted(shown.items()):
        click.echo(f"{name:9} {number} {'post' if number == 1 else 'posts'}")
    return shown == expected and all(seen.was for seen in _ending(town))


def _linger(stay: int | None, port: int) -> None:
    end = "Ctrl-C" if stay is None else f"{stay} s have passed"
    click.echo(f"\nThe page stays at http://127.0.0.1:{port}/ until {end}.")
    if stay is None:
        threading.Event().wait()
    else:
        time.sleep(stay)
