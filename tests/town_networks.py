"""What our adapters use of each network's protocol, on top of a ledger."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qs

from tests.ledger import Ledger, Visible
from tests.town_requests import Answer, Asked, Route, missing, payload, shown_time

WEBHOOK = "/api/webhooks/1/discord-token-of-ours"


@dataclass
class Mastodon:
    """*honours_keys*: what comes with the same Idempotency-Key is folded. *may_look*: our token may
    list our own posts. *replays_errors*: like Pleroma it keeps an error with its key.
    """

    ledger: Ledger
    url: str
    honours_keys: bool = True
    may_look: bool = True
    replays_errors: bool = False
    uploads: int = 0
    name = "mastodon"
    _kept: dict[str, Answer] = field(default_factory=dict)

    def routes(self) -> Iterator[Route]:
        yield "GET", "/api/v2/instance", self._instance
        yield "GET", "/api/v1/accounts/verify_credentials", self._account
        yield "GET", "/api/v1/accounts/1/statuses", self._statuses
        yield "POST", "/api/v1/statuses", self._post
        yield "GET", "/api/v1/statuses/([^/]+)", self._get
        yield "PUT", "/api/v1/statuses/([^/]+)", self._edit
        yield "DELETE", "/api/v1/statuses/([^/]+)", self._delete
        yield "POST", "/api/v1/statuses/([^/]+)/(pin|unpin)", self._pin
        yield "POST", "/api/v2/media", self._upload

    def replayed(self, asked: Asked) -> Answer | None:
        """The error that was kept with the key of *asked*."""
        return self._kept.get(asked.headers.get("Idempotency-Key", ""))

    def failed(self, asked: Asked, answer: Answer) -> None:
        if self.replays_errors:
            replay = answer._replace(headers={"Idempotent-Replayed": "true"})
            self._kept[asked.headers.get("Idempotency-Key", "-")] = replay

    def _instance(self, _: Asked) -> Answer:
        whose = "github.com/mastodon/mastodon" if self.honours_keys else "codeberg.org/gotosocial"
        return Answer(200, {"source_url": f"https://{whose}"})

    def _account(self, _: Asked) -> Answer:
        return Answer(200, {"id": "1", "username": "k"})

    def _post(self, asked: Asked) -> Answer:
        key = asked.headers.get("Idempotency-Key", "") if self.honours_keys else ""
        sent = asked.json
        media = ",".join(sent.get("media_ids", []))
        answers = sent.get("in_reply_to_id", "")
        post, _ = self.ledger.put(
            self.name, sent["status"], identity=key, answers=answers, content=media
        )
        return Answer(200, self._shown(post))

    def _statuses(self, _: Asked) -> Answer:
        if not self.may_look:
            return Answer(403, {"error": "This action is outside the authorized scopes"})
        return Answer(200, [self._shown(post) for post in self.ledger.of(self.name)])

    def _get(self, asked: Asked) -> Answer:
        post = self.ledger.get(self.name, asked.names[0])
        return Answer(200, self._shown(post)) if post else missing()

    def _edit(self, asked: Asked) -> Answer:
        post = self.ledger.edit(self.name, asked.names[0], asked.json["status"])
        return Answer(200, self._shown(post)) if post else missing()

    def _delete(self, asked: Asked) -> Answer:
        self.ledger.marks.discard(f"mastodon pin {asked.names[0]}")
        gone = self.ledger.take_away(self.name, asked.names[0])
        return Answer(200, {"id": asked.names[0]}) if gone else missing()

    def _pin(self, asked: Asked) -> Answer:
        number, what = asked.names
        post, mark = self.ledger.get(self.name, number), f"mastodon pin {number}"
        if not post:
            return missing()
        if what == "pin" and mark in self.ledger.marks:
            return Answer(422, {"error": "Validation failed: you have pinned it already"})
        (self.ledger.marks.add if what == "pin" else self.ledger.marks.discard)(mark)
        return Answer(200, self._shown(post))

    def _upload(self, _: Asked) -> Answer:
        self.uploads += 1
        return Answer(200, {"id": f"media{self.uploads}", "type": "image", "url": self.url})

    def _shown(self, post: Visible) -> dict[str, Any]:
        return {
            "id": post.id,
            "url": f"{self.url}/@k/{post.id}",
            "created_at": shown_time(post.at),
            "content": f"<p>{escape(post.text)}</p>",
            "pinned": f"mastodon pin {post.id}" in self.ledger.marks,
            "media_attachments": [{"id": post.content}] if post.content else [],
        }


@dataclass
class Bluesky:
    ledger: Ledger
    uploads: int = 0
    status: dict[str, Any] | None = None
    blobs: set[str] = field(default_factory=set)
    """Pictures that are there; one that is taken out was thrown away."""
    name = "bluesky"

    def routes(self) -> Iterator[Route]:
        yield "POST", "/xrpc/com.atproto.server.createSession", self._session
        yield "POST", "/xrpc/com.atproto.server.refreshSession", self._session
        yield "GET", "/xrpc/com.atproto.server.getSession", self._session
        yield "POST", "/xrpc/com.atproto.repo.uploadBlob", self._upload
        yield "POST", "/xrpc/com.atproto.repo.putRecord", self._put
        yield "POST", "/xrpc/com.atproto.repo.deleteRecord", self._delete
        yield "GET", "/xrpc/com.atproto.repo.listRecords", self._list

    def _session(self, _: Asked) -> Answer:
        login = {"did": "did:plc:k", "handle": "kestrel.test"}
        return Answer(200, {**login, "accessJwt": "access", "refreshJwt": "refresh"})

    def _upload(self, asked: Asked) -> Answer:
        self.uploads += 1
        digest = hashlib.sha256(asked.body).hexdigest()
        self.blobs.add(digest)
        blob = {"$type": "blob", "ref": {"$link": digest}, "mimeType": "image/jpeg", "size": 1}
        return Answer(200, {"blob": blob})

    def _put(self, asked: Asked) -> Answer:
        put = asked.json
        record, rkey = put["record"], put["rkey"]
        if put["collection"] != "app.bsky.feed.post":
            self.status = record
            self.ledger.marks.add("bluesky live")
            return Answer(200, {"uri": "at://did:plc:k/status/self", "cid": "bafy"})
        thumb = record.get("embed", {}).get("external", {}).get("thumb")
        if thumb and thumb["ref"]["$link"] not in self.blobs:
            return Answer(400, {"error": "BlobNotFound", "message": "Could not find blob"})
        parent = record.get("reply", {}).get("parent", {}).get("uri", "").rpartition("/")[2]
        told = json.dumps(record, sort_keys=True)
        self.ledger.put(
            self.name, record["text"], identity=rkey, name=rkey, answers=parent, content=told
        )
        uri = f"at://did:plc:k/app.bsky.feed.post/{rkey}"
        return Answer(200, {"uri": uri, "cid": f"bafy{hashlib.sha256(told.encode()).hexdigest()}"})

    def _delete(self, asked: Asked) -> Answer:
        which = asked.json
        if which["collection"] == "app.bsky.feed.post":
            self.ledger.take_away(self.name, which["rkey"])
        else:
            self.status = None
            self.ledger.marks.discard("bluesky live")
        return Answer(200, {})

    def _list(self, asked: Asked) -> Answer:
        [collection] = parse_qs(asked.query)["collection"]
        records = {"self": self.status} if self.status else {}
        if collection == "app.bsky.feed.post":
            records = {post.id: json.loads(post.content) for post in self.ledger.of(self.name)}
        found = [
            {"uri": f"at://did:plc:k/{collection}/{rkey}", "cid": "bafy", "value": record}
            for rkey, record in records.items()
        ]
        return Answer(200, {"records": found})


@dataclass
class Discord:
    ledger: Ledger
    name = "discord"

    def routes(self) -> Iterator[Route]:
        door = WEBHOOK.replace("/api/", "/api/v10/")
        yield "GET", door, self._webhook
        yield "POST", door, self._post
        yield "PATCH", f"{door}/messages/([^/]+)", self._edit
        yield "DELETE", f"{door}/messages/([^/]+)", self._delete

    def _webhook(self, _: Asked) -> Answer:
        return Answer(200, {"id": "1", "guild_id": "2", "channel_id": "3", "name": "ours"})

    def _post(self, asked: Asked) -> Answer:
        post, _ = self.ledger.put(self.name, payload(asked)["content"])
        return Answer(200, {"id": post.id, "channel_id": "3"})

    def _edit(self, asked: Asked) -> Answer:
        post = self.ledger.edit(self.name, asked.names[0], asked.json["content"])
        return Answer(200, {"id": post.id}) if post else self._unknown()

    def _delete(self, asked: Asked) -> Answer:
        gone = self.ledger.take_away(self.name, asked.names[0])
        return Answer(204, "") if gone else self._unknown()

    def _unknown(self) -> Answer:
        return Answer(404, {"message": "Unknown Message", "code": 10008})


@dataclass
class X:
    ledger: Ledger
    uploads: int = 0
    name = "x"

    def routes(self) -> Iterator[Route]:
        yield "GET", "/2/users/me", self._account
        yield "GET", "/2/users/1/tweets", self._tweets
        yield "POST", "/2/tweets", self._post
        yield "DELETE", "/2/tweets/([^/]+)", self._delete
        yield "POST", "/2/media/upload", self._upload
        yield "POST", "/2/media/metadata", self._describe

    def _account(self, _: Asked) -> Answer:
        return Answer(200, {"data": {"id": "1", "username": "kestrel"}})

    def _post(self, asked: Asked) -> Answer:
        post, _ = self.ledger.put(self.name, asked.json["text"])
        return Answer(201, {"data": {"id": post.id, "text": ""}})

    def _tweets(self, _: Asked) -> Answer:
        told = [
            {"id": post.id, "text": escape(post.text), "created_at": shown_time(post.at)}
            for post in self.ledger.of(self.name)
        ]
        return Answer(200, {"data": told, "meta": {"result_count": len(told)}})

    def _delete(self, asked: Asked) -> Answer:
        gone = self.ledger.take_away(self.name, asked.names[0])
        return Answer(200, {"data": {"deleted": True}}) if gone else missing()

    def _upload(self, _: Asked) -> Answer:
        self.uploads += 1
        return Answer(200, {"data": {"id": str(self.uploads)}})

    def _describe(self, _: Asked) -> Answer:
        return Answer(200, {"data": {}})


@dataclass
class OwncastChat:
    ledger: Ledger
    name = "owncast"

    def routes(self) -> Iterator[Route]:
        yield "POST", "/api/integrations/chat/system", self._say

    def _say(self, asked: Asked) -> Answer:
        self.ledger.put(self.name, asked.json["body"])
        return Answer(200, {"success": True, "message": "sent"})
