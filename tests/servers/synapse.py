"""A real Matrix homeserver (Synapse), and what a second member of a room sees there."""

import base64
import hmac
import json
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from tests.servers import INSTALLED, NotInstalledError, Program, free_port

SECONDS = 20.0
_PYTHON = INSTALLED / "synapse" / "bin" / "python"
_SECRET = "the tests' own"
_UNLIMITED = {"per_second": 10_000, "burst_count": 10_000}


@dataclass(frozen=True)
class Message:
    """A message as it stands in a room now: with its last edit, if there was one."""

    id: str
    sender: str
    body: str
    html: str
    content: dict[str, Any] = field(repr=False)
    edited: bool = False


@dataclass(frozen=True)
class MatrixRoom:
    """A room of its own for one test: *user* posts there, and its *owner*, who made it, reads."""

    homeserver: str
    id: str
    alias: str
    user: str
    token: str = field(repr=False)
    password: str = field(repr=False)
    owner: str
    owner_token: str = field(repr=False)

    def events(self) -> list[dict[str, Any]]:
        """Everything that happened in the room, oldest first, as the owner is told."""
        path = f"client/v3/rooms/{quote(self.id)}/messages?dir=f&limit=1000"
        found: list[dict[str, Any]] = self._get(path).json()["chunk"]
        return found

    def messages(self) -> list[Message]:
        """What the owner's app shows, oldest first: edits applied, redacted messages left out."""
        shown: dict[str, Message] = {}
        for event in self.events():
            content = event["content"]
            if event["type"] != "m.room.message" or not content:
                continue
            relation = content.get("m.relates_to", {})
            edits = relation.get("rel_type") == "m.replace"
            which = relation["event_id"] if edits else event["event_id"]
            if edits and (which not in shown or shown[which].sender != event["sender"]):
                continue
            content = content["m.new_content"] if edits else content
            shown[which] = Message(
                id=which,
                sender=event["sender"],
                body=content["body"],
                html=content.get("formatted_body", ""),
                content=content,
                edited=edits,
            )
        return list(shown.values())

    def pinned(self) -> list[str]:
        """The ids of the messages that are pinned in the room."""
        state = [event for event in self.events() if event["type"] == "m.room.pinned_events"]
        return list(state[-1]["content"].get("pinned", [])) if state else []

    def media(self, uri: str) -> bytes:
        """The bytes behind an mxc:// address, as the owner gets them."""
        return self._get(f"client/v1/media/download/{uri.removeprefix('mxc://')}").content

    def allow_to_pin(self) -> None:
        """From now on *user* may, as nobody but the owner could."""
        path = f"client/v3/rooms/{quote(self.id)}/state/m.room.power_levels"
        levels = self._get(path).json()
        self._put(path, levels | {"users": {**levels.get("users", {}), self.user: 50}})

    def delete(self, message: str) -> None:
        """By the owner, who may delete those of others."""
        self._put(
            f"client/v3/rooms/{quote(self.id)}/redact/{quote(message)}/{secrets.token_hex(4)}"
        )

    def with_another_login(self) -> "MatrixRoom":
        """The same room and user, logged in once more: another device and token."""
        identifier = {"type": "m.id.user", "user": self.user}
        wanted = {"type": "m.login.password", "identifier": identifier, "password": self.password}
        answer = requests.post(
            f"{self.homeserver}/_matrix/client/v3/login", json=wanted, timeout=SECONDS
        )
        answer.raise_for_status()
        return replace(self, token=answer.json()["access_token"])

    def _get(self, path: str) -> requests.Response:
        return self._ask("GET", path)

    def _put(self, path: str, body: dict[str, Any] | None = None) -> None:
        self._ask("PUT", path, body or {})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        bearer = {"Authorization": f"Bearer {self.owner_token}"}
        answer = requests.request(
            method, f"{self.homeserver}/_matrix/{path}", json=body, headers=bearer, timeout=SECONDS
        )
        answer.raise_for_status()
        return answer


class Synapse:
    """The server, running from construction until `stop`. Raises NotInstalledError."""

    def __init__(self, folder: Path) -> None:
        if not (INSTALLED / "synapse" / "complete").exists():
            raise NotInstalledError("Synapse is not installed")
        port = free_port()
        settings = _prepare(folder, port)
        self.url = f"http://localhost:{port}"
        homeserver = ("-m", "synapse.app.homeserver")
        self._program = Program([_PYTHON, *homeserver, "--config-path", settings], folder)
        self._program.wait_until(self._is_healthy)
        self._admin = ""

    def new_room(self, *, encrypted: bool = False, member: bool = True) -> MatrixRoom:
        """A fresh public room. Its user may post, and do what any member may; or is not there."""
        owner, _, owner_token = self._register()
        user, password, token = self._register()
        alias = f"kestrel_{secrets.token_hex(4)}"
        wanted: dict[str, Any] = {"preset": "public_chat", "room_alias_name": alias}
        if encrypted:
            algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
            wanted["initial_state"] = [{"type": "m.room.encryption", "content": algorithm}]
        room = self._post("client/v3/createRoom", wanted, owner_token)["room_id"]
        if member:
            self._post(f"client/v3/join/{quote(room)}", {}, token)
        return MatrixRoom(
            homeserver=self.url,
            id=room,
            alias=f"#{alias}:localhost",
            user=user,
            token=token,
            password=password,
            owner=owner,
            owner_token=owner_token,
        )

    def allow(self, user: str, *, per_second: int, at_once: int) -> None:
        """From now on *user* may send only so much, and is answered 429 above it."""
        self._admin = self._admin or self._register_admin()
        self._post(
            f"admin/v1/users/{quote(user)}/override_ratelimit",
            {"messages_per_second": per_second, "burst_count": at_once},
            self._admin,
            below="_synapse",
        )

    def stop(self) -> None:
        self._program.stop()

    def _is_healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=SECONDS).ok
        except requests.ConnectionError:
            return False

    def _register(self) -> tuple[str, str, str]:
        """A new user, its password and its token."""
        password = secrets.token_urlsafe(12)
        wanted = {
            "username": f"kestrel_{secrets.token_hex(4)}",
            "password": password,
            "auth": {"type": "m.login.dummy"},
        }
        told = self._post("client/v3/register", wanted)
        return told["user_id"], password, told["access_token"]

    def _register_admin(self) -> str:
        path = "admin/v1/register"
        nonce = requests.get(f"{self.url}/_synapse/{path}", timeout=SECONDS).json()["nonce"]
        name, password = f"admin_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        seal = hmac.digest(
            _SECRET.encode(), "\0".join([nonce, name, password, "admin"]).encode(), "sha1"
        )
        wanted = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": True,
            "mac": seal.hex(),
        }
        token: str = self._post(path, wanted, below="_synapse")["access_token"]
        return token

    def _post(
        self, path: str, body: dict[str, Any], token: str = "", below: str = "_matrix"
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.post(
            f"{self.url}/{below}/{path}", json=body, headers=headers, timeout=SECONDS
        )
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result


def _prepare(folder: Path, port: int) -> Path:
    """Writes its settings. They are YAML, of which JSON is a part."""
    seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    (folder / "signing.key").write_text(f"ed25519 a_kestrel {seed}\n", "utf-8")
    log = {
        "version": 1,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"level": "WARNING", "handlers": ["console"]},
        "disable_existing_loggers": False,
    }
    (folder / "log.yaml").write_text(json.dumps(log), "utf-8")
    settings = {
        "server_name": "localhost",
        "report_stats": False,
        "signing_key_path": str(folder / "signing.key"),
        "pid_file": str(folder / "synapse.pid"),
        "log_config": str(folder / "log.yaml"),
        "media_store_path": str(folder / "media"),
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "listeners": [
            {
                "port": port,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "tls": False,
                "resources": [{"names": ["client"]}],
            }
        ],
        # It asks nobody else.
        "trusted_key_servers": [],
        "federation_domain_whitelist": [],
        "url_preview_enabled": False,
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "registration_shared_secret": _SECRET,
        "macaroon_secret_key": _SECRET,
        "form_secret": _SECRET,
        "bcrypt_rounds": 4,
        "presence": {"enabled": False},
        # What a test wants to be limited, it limits itself: `allow`.
        "rc_login": {"address": _UNLIMITED, "account": _UNLIMITED},
        "rc_registration": _UNLIMITED,
        "rc_message": _UNLIMITED,
        "rc_joins": {"local": _UNLIMITED, "remote": _UNLIMITED},
        "rc_room_creation": _UNLIMITED,
        "rc_media_create": _UNLIMITED,
    }
    file = folder / "homeserver.yaml"
    file.write_text(json.dumps(settings), "utf-8")
    return file
