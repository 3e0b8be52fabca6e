"""A Discord server on loopback, with one channel, as a bot meets it."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.town_requests import Answer, Asked, payload

BOT, GUILD, CHANNEL = "165511591545143290", "165511591545143291", "165511591545143292"
TOKEN = "token-of-our-bot"
EPOCH = datetime(2015, 1, 1, tzinfo=UTC)


class Guild:
    """*folds* is how long a nonce is known, *may_look* whether the bot may read the history. What
    *trouble* says of a request is done to it: "lost" is done and not answered, "cut" not even done.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        folds: timedelta = timedelta(minutes=3),
        may_look: bool = True,
    ) -> None:
        self._clock, self._folds, self.may_look = clock, folds, may_look
        self.messages: list[dict[str, Any]] = []
        self.pinged: list[str] = []
        """The texts that really pinged somebody, by create or by edit."""
        self.events: list[dict[str, Any]] = []
        self.pins: set[str] = set()
        self.asked: list[str] = []
        self.troubles: list[str] = []
        """Of the next posts."""
        self._nonces: dict[str, tuple[datetime, dict[str, Any]]] = {}
        self._count = 0
        self._lock = threading.Lock()
        guild = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                guild._serve(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # the names it calls

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DISCORD_BOT_TOKEN": TOKEN,
            "DISCORD_CHANNEL_ID": CHANNEL,
            "DISCORD_API_BASE_URL": self.url,
        }

    def texts(self) -> list[str]:
        return [message["content"] for message in self.messages]

    def says(self, text: str, author: str = "165511591545143299") -> None:
        """A person does."""
        self._put({"content": text, "author": {"id": author}})

    def _routes(self) -> Iterator[tuple[str, str, Callable[[Asked], Answer]]]:
        messages = f"/channels/{CHANNEL}/messages"
        yield "GET", "/users/@me", lambda _: Answer(200, {"id": BOT, "username": "kestrel"})
        yield "GET", f"/channels/{CHANNEL}", self._channel
        yield "GET", messages, self._history
        yield "POST", messages, self._create
        yield "GET", f"{messages}/(\\d+)", self._get
        yield "PATCH", f"{messages}/(\\d+)", self._edit
        yield "DELETE", f"{messages}/(\\d+)", self._delete
        yield "PUT", f"{messages}/pins/(\\d+)", self._pin
        yield "DELETE", f"{messages}/pins/(\\d+)", self._pin
        yield "POST", f"{messages}/(\\d+)/crosspost", self._get
        yield "GET", f"/guilds/{GUILD}/scheduled-events", lambda _: Answer(200, self.events)
        yield "POST", f"/guilds/{GUILD}/scheduled-events", self._schedule
        yield "PATCH", f"/guilds/{GUILD}/scheduled-events/(\\d+)", self._change_event

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path, _, query = request.path.partition("?")
        asked = Asked(request.command, path, request.headers, body, (), query)
        with self._lock:
            self.asked.append(f"{asked.method} {path}")
            trouble = ""
            if asked.method == "POST" and path.endswith("/messages") and self.troubles:
                trouble = self.troubles.pop(0)
            answer = Answer(500, {}) if trouble == "cut" else self._answer(asked)
        if trouble:
            request.close_connection = True
            return
        data = json.dumps(answer.body).encode() if answer.body != "" else b""
        request.send_response(answer.status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _answer(self, asked: Asked) -> Answer:
        if not _is_a_bot(asked.headers):
            return Answer(401, {"message": "401: Unauthorized", "code": 0})
        for method, pattern, handle in self._routes():
            match = re.fullmatch(f"/api/v10{pattern}", asked.path)
            if match and method == asked.method:
                return handle(asked._replace(names=match.groups()))
        return Answer(404, {"message": "404: Not Found", "code": 0})

    def _number(self) -> str:
        self._count += 1
        return str(int((self._clock() - EPOCH).total_seconds() * 1000) * 2**22 + self._count)

    def _put(self, message: dict[str, Any]) -> dict[str, Any]:
        made = {"id": self._number(), "channel_id": CHANNEL, **message}
        self.messages.append(made)
        return made

    def _channel(self, _: Asked) -> Answer:
        last = self.messages[-1]["id"] if self.messages else None
        about = {"id": CHANNEL, "guild_id": GUILD, "type": 0, "name": "live"}
        return Answer(200, {**about, "last_message_id": last})

    def _history(self, asked: Asked) -> Answer:
        query = parse_qs(asked.query)
        after, limit = int(query["after"][0]), int(query["limit"][0])
        found = [one for one in self.messages if int(one["id"]) > after] if self.may_look else []
        return Answer(200, found[:limit][::-1])

    def _create(self, asked: Asked) -> Answer:
        sent = payload(asked)
        nonce = sent["nonce"]
        if len(sent["content"]) > 2000 or len(nonce) > 25:
            return Answer(400, {"message": "Invalid Form Body", "code": 50035})
        at, there = self._nonces.get(nonce, (EPOCH, {}))
        if sent["enforce_nonce"] and self._clock() - at < self._folds:
            return Answer(200, there)
        self._ping(sent)
        made = self._put(
            {
                "content": sent["content"],
                "embeds": sent.get("embeds", []),
                "author": {"id": BOT},
                "answers": sent.get("message_reference", {}).get("message_id", ""),
            }
        )
        self._nonces[nonce] = (self._clock(), made)
        return Answer(200, made)

    def _ping(self, sent: dict[str, Any]) -> None:
        """As documented: without `allowed_mentions` everything in the text pings."""
        allowed = sent.get("allowed_mentions", {"parse": ["users", "roles", "everyone"]})
        everyone = re.search("@(everyone|here)", sent["content"])
        roles = re.findall(r"<@&(\d+)>", sent["content"])
        if (everyone and "everyone" in allowed["parse"]) or (
            roles and ("roles" in allowed["parse"] or set(roles) & set(allowed.get("roles", [])))
        ):
            self.pinged.append(sent["content"])

    def _one(self, asked: Asked) -> dict[str, Any] | None:
        return next((one for one in self.messages if one["id"] == asked.names[0]), None)

    def _get(self, asked: Asked) -> Answer:
        message = self._one(asked)
        if message is None:
            return _unknown()
        return Answer(200, {**message, "pinned": message["id"] in self.pins})

    def _edit(self, asked: Asked) -> Answer:
        message = self._one(asked)
        if message is None:
            return _unknown()
        self._ping(asked.json)
        message.update(content=asked.json["content"], embeds=asked.json["embeds"])
        return Answer(200, message)

    def _delete(self, asked: Asked) -> Answer:
        message = self._one(asked)
        if message is None:
            return _unknown()
        self.messages.remove(message)
        return Answer(204, "")

    def _pin(self, asked: Asked) -> Answer:
        if self._one(asked) is None:
            return _unknown()
        (self.pins.add if asked.method == "PUT" else self.pins.discard)(asked.names[0])
        return Answer(204, "")

    def _schedule(self, asked: Asked) -> Answer:
        sent = asked.json
        begins = datetime.fromisoformat(sent["scheduled_start_time"])
        ends = datetime.fromisoformat(sent["scheduled_end_time"])
        fits = 0 < len(sent["name"]) <= 100 and len(sent["entity_metadata"]["location"]) <= 100
        if not (self._clock() < begins < ends and sent["entity_type"] == 3 and fits):
            return Answer(400, {"message": "Invalid Form Body", "code": 50035})
        event = {"id": self._number(), "creator_id": BOT, "status": 1, **sent}
        self.events.append(event)
        return Answer(200, event)

    def _change_event(self, asked: Asked) -> Answer:
        event = next((one for one in self.events if one["id"] == asked.names[0]), None)
        if event is None:
            return Answer(404, {"message": "Unknown Guild Scheduled Event", "code": 10070})
        way = (event["status"], asked.json.get("status", event["status"]))
        if way not in {(1, 1), (2, 2), (1, 2), (2, 3), (1, 4)}:
            return Answer(400, {"message": "Invalid status transition", "code": 180000})
        event.update(asked.json)
        return Answer(200, event)


def _is_a_bot(headers: Message) -> bool:
    proves = headers.get("Authorization") == f"Bot {TOKEN}"
    return (
        proves
        and re.fullmatch(r"DiscordBot \(\S+, \S+\)", headers.get("User-Agent", "")) is not None
    )


def _unknown() -> Answer:
    return Answer(404, {"message": "Unknown Message", "code": 10008})
