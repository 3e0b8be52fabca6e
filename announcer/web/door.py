"""Who may come in: with the admin password, or from this machine where none is set.

A browser logs in once and gets a signed cookie; a script sends the password each time (HTTP Basic,
user `admin`). What changes something needs more: a token that only our own pages know, and a
request that no other site made the browser send.
Sources: OWASP Cross-Site Request Forgery Prevention Cheat Sheet; Fetch Metadata Request Headers.
"""

import hashlib
import hmac
import secrets
import time
from functools import lru_cache
from math import ceil
from urllib.parse import quote, unquote

import structlog
from flask import Blueprint, Response, g, make_response, render_template, request
from flask.typing import ResponseReturnValue
from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import SecretStr

from announcer.outbox import DestinationMemory
from announcer.web.crowd import Guesses, Seldom, site, who
from announcer.web.here import TOKEN_HEADER, on_this_machine
from announcer.web.logouts import Logouts
from announcer.web.say import away
from announcer.web.trouble import told
from announcer.wiring import Parts

log = structlog.get_logger("announcer.pages")

SELDOM = 60.0
"""Seconds between two log lines on wrong passwords."""
DAYS = 30
"""How long a login lasts. A logout ends it, and for everybody a change of the password."""
TOKEN = "csrf"  # noqa: S105  # the name of a form's field
HERE = "here"
"""The session of who needs none: no other site can read a page of ours and find its token there."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_ADDRESS_SIGNS = "/?&=%+-._~,:@"
"""Signs that stay as they are in an address of ours."""


class Door:
    """The guard of every page for people. One for the app."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._guesses, self._seldom = Guesses(), Seldom(log.warning, "page")
        self._ended = Logouts(DestinationMemory(parts.outbox, "pages"), DAYS * 86_400)
        self._here = secrets.token_bytes(32)
        """Signs where there is no password: on this machine, until we stop."""

    def guards(self, pages: Blueprint) -> None:
        pages.before_request(self.guard)
        pages.after_request(self._remember)

    def blueprint(self) -> Blueprint:
        door = Blueprint("door", __name__)
        door.after_request(self._remember)

        @door.get("/login")
        def login() -> ResponseReturnValue:
            if refusal := self._from_elsewhere():
                return refusal
            if self._password() is None or self._session():
                return _onward(request.args.get("then", ""))
            return self._login_page()

        @door.post("/login")
        def enter() -> ResponseReturnValue:
            if refusal := self._from_elsewhere() or _strange():
                return refusal
            then = request.form.get("then", "")
            word = request.form.get("password", "")
            verdict = self._judge("admin", word)
            if verdict is None:
                g.session = secrets.token_urlsafe(16)
                log.info("page", action="login", address=_address())
                return _onward(then)
            problem = "login.wait" if verdict.status_code == 429 else "login.wrong"
            answer = make_response(self._login_page(problem, then), verdict.status_code)
            answer.headers.extend({k: v for k, v in verdict.headers if k == "Retry-After"})
            return answer

        @door.post("/logout")
        def leave() -> ResponseReturnValue:
            if refusal := self.guard():
                return refusal
            if session := self._session():
                self._ended.add(session)
            answer = away("login")
            answer.delete_cookie(_cookie(), secure=_encrypted(), httponly=True, samesite="Lax")
            g.session = ""
            return answer

        return door

    def guard(self) -> ResponseReturnValue | None:
        """None for who may come in; else what they are told."""
        if refusal := self._from_elsewhere() or self._unknown():
            return refusal
        said = (request.path, *request.values.values())
        return told("door.nonsense", 400) if any("\0" in word for word in said) else None

    def _unknown(self) -> ResponseReturnValue | None:
        if self._password() is None:
            g.session = HERE
        elif session := self._session():
            g.session = session
        elif given := request.authorization:
            g.session = ""
            if refusal := self._judge(given.username or "", given.password or ""):
                return refusal
            return None if request.method in SAFE else _from_a_browser()
        elif _a_page_is_wanted():
            return away("login", then=request.full_path.lstrip("/").rstrip("?"))
        else:
            return _challenge()
        if request.method in SAFE:
            return None
        refusal = _strange() or self._unasked()
        if refusal:
            why = "a form that is too old, or of another site"
            self._seldom.warn(why, SELDOM, outcome=403, address=_address(), reason=why)
        return refusal

    def lets_read(self, token: SecretStr | None) -> Response | None:
        """None for a program that may read what people may: with *token* as its bearer, or as they
        do. It is never sent to a page for a login.
        """
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            right = token.get_secret_value() if token else ""
            same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), right.encode())
            if right and same:
                return None
        elif self._password() is None:
            if on_this_machine():
                return None
        elif self._session():
            return None
        elif kind.lower() == "basic":
            return self._judge_header()
        why = "wrong token" if kind.lower() == "bearer" else "no token"
        reason = f"{why} for {request.path}"
        self._seldom.warn(why, SELDOM, outcome=401, address=_address(), reason=reason)
        return told("door.token", 401, {"WWW-Authenticate": 'Bearer realm="Announcer"'})

    def _judge_header(self) -> Response | None:
        given = request.authorization
        return self._judge((given and given.username) or "", (given and given.password) or "")

    @property
    def token(self) -> str:
        """What a form has to bring back, for the session of this request."""
        session: str = g.get("session") or ""
        return hmac.new(self._key(), session.encode(), "sha256").hexdigest() if session else ""

    def _unasked(self) -> Response | None:
        given = request.form.get(TOKEN) or request.headers.get(TOKEN_HEADER, "")
        token = self.token
        if token and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return None
        return told("door.stale", 403)

    def _judge(self, name: str, word: str) -> Response | None:
        """None if they are right."""
        password = self._password()
        address, through = _address(), who(request.remote_addr or "", "")
        now = time.monotonic()
        wait = self._guesses.delay(address, through, now)
        right = hmac.compare_digest(word.encode("utf-8", "replace"), (password or "").encode())
        if wait:
            return told("door.too_many", 429, {"Retry-After": str(ceil(wait))})
        if right and name == "admin" and password is not None:
            self._guesses.right(address)
            return None
        self._guesses.wrong(address, through, now)
        why = "wrong user name or password"
        self._seldom.warn(why, SELDOM, outcome=401, address=address, reason=why)
        return _challenge()

    def _from_elsewhere(self) -> Response | None:
        if self._password() is not None or on_this_machine():
            return None
        return told("door.elsewhere", 403)

    def _login_page(self, problem: str = "", then: str = "") -> str:
        return render_template(
            "login.html", problem=problem, then=then or request.args.get("then", "")
        )

    def _password(self) -> str | None:
        password = self._parts.settings.service.admin_password  # each time: its file may change
        return None if password is None else password.get_secret_value()

    def _key(self) -> bytes:
        password = self._password()
        return self._here if password is None else _stretched(password)

    def _signer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._key(), "announcer session")

    def _session(self) -> str:
        """Empty if there is none, it is too old or ended, or the password has changed since."""
        try:
            session = self._signer().loads(request.cookies.get(_cookie(), ""), DAYS * 86_400)
        except BadData:
            return ""
        return session if isinstance(session, str) and session not in self._ended else ""

    def _remember(self, answer: Response) -> Response:
        session = g.get("session")
        if session and session != HERE and session != self._session():
            answer.set_cookie(
                _cookie(),
                str(self._signer().dumps(session)),
                max_age=DAYS * 86_400,
                secure=_encrypted(),
                httponly=True,
                samesite="Lax",  # not Strict: a link from elsewhere must not look like a logout
            )
        return answer


@lru_cache(2)
def _stretched(password: str) -> bytes:
    """A key that a thief of a cookie can not guess the password by: 16 MB and 40 ms a guess."""
    return hashlib.scrypt(password.encode(), salt=b"announcer session", n=2**14, r=8, p=1)


def _strange() -> Response | None:
    """Whether another site made the browser send this. Old browsers tell by Origin only."""
    fetched = request.headers.get("Sec-Fetch-Site")
    if fetched is not None:
        return None if fetched in ("same-origin", "none") else told("door.other_site", 403)
    origin = request.headers.get("Origin")
    if origin is None or (origin and site(origin) == request.host):
        return None
    return told("door.other_site", 403)


def _from_a_browser() -> Response | None:
    """A browser that knows the password sends it by itself, wherever the form came from."""
    known = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    return told("door.other_site", 403) if known else None


def _address() -> str:
    return who(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""))


def _a_page_is_wanted() -> bool:
    """By a person. A script takes anything, and is told that it needs the password."""
    kinds = {kind for kind, _ in request.accept_mimetypes}
    return request.method in SAFE and "text/html" in kinds


def _challenge() -> Response:
    """A browser would ask for the password in a window of its own, over a page that is open."""
    browser = "Sec-Fetch-Mode" in request.headers or "text/event-stream" in str(
        request.accept_mimetypes
    )
    asks = {} if browser else {"WWW-Authenticate": 'Basic realm="Announcer"'}
    return told("door.log_in", 401, asks)


def _onward(then: str) -> Response:
    """On to a page of ours, after the login: what begins with `./` leads to no other site."""
    fine = then.isprintable() and ".." not in unquote(then) and not then.startswith("login")
    place = quote(then, safe=_ADDRESS_SIGNS) if fine else ""
    return Response(status=303, headers={"Location": f"./{place}"})


def _encrypted() -> bool:
    """A header that was made up only costs who made it up their own cookie."""
    return request.is_secure or request.headers.get("X-Forwarded-Proto", "") == "https"


def _cookie() -> str:
    return "__Host-announcer" if _encrypted() else "announcer"
