"""E-mail: one mail for each recipient, over one conversation with the sender's mail server.

Sources: RFC 5321 (4.2 answers, 4.5.3.2 how long to wait), 5322 (Message-ID, References), 3834
(Auto-Submitted), 8058 (List-Unsubscribe-Post), 2047 (encoded words); CPython 3.11 smtplib.py.
"""

import html
import json
import re
import smtplib
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formataddr, parseaddr
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import quote

import regex
from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from announcer import wire
from announcer.network import (
    ZERO_WIDTH_SPACE,
    Account,
    DeliveryError,
    Memory,
    Network,
    Picture,
    Post,
    Receipt,
    Refused,
    Repeat,
    TryLater,
    Unsure,
)
from announcer.settings import is_private, setting

MOST = 50
"""Recipients. More of them are a mailing list, which has an address and a server of its own."""
PATIENCE = 3
"""A server may look long at a mail before it says that it has it: times the usual limits."""
ENOUGH = 60.0
"""Seconds after which no mail is begun: the next try goes on with those who wait."""
GREYLISTED = timedelta(minutes=1)
"""Who says later of one recipient mostly wants to see that we come back, and not before a minute is
over (RFC 6647); to ask sooner only makes the destination look broken.
"""
PAGES = 8
"""Posts of which it is known who has them: far more than are ever under way."""
SUBJECT = 120
"""Graphemes. The whole first line is in the mail, too."""

_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63})*", re.ASCII)
_ANYBODY = re.compile(r"([^\s<>@:;,\"])[^\s<>@:;,\"]*@([\w.-]+)")
_PLACEHOLDER = "{address}"
_LOCKED_OUT = frozenset({530, 534, 535, 538, 553})
"""No login, a wrong one, one without TLS, and a sender whom this login may not write as."""

_PAGE = """\
<!doctype html>
<html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>{subject}</title></head>
<body style="margin:0 auto;max-width:600px;padding:24px;font:16px/1.5 system-ui,sans-serif">
{parts}
</body></html>
"""
_HEADING = '<h1 style="margin:0 0 16px;font-size:20px;line-height:1.3">{}</h1>'
_IMAGE = (
    '<img src="cid:{}" alt="{}" width="{}" '
    'style="display:block;width:100%;height:auto;border:0;border-radius:8px">'
)
_SMALL = '<p style="font-size:13px;opacity:.7"><a href="{}">Unsubscribe</a></p>'


def _addresses(value: object) -> object:
    if isinstance(value, str):
        return tuple(one for one in re.split(r"[\s,;]+", value) if one)
    return value


class Email(Network):
    """Writes a mail to each of your recipients, from an account of yours at a mail server.

    1. Choose the mail account that writes. If its provider knows app passwords, make one: it can
       be taken back by itself. A mailbox that is only for this is better still.
    2. Set `EMAIL_FROM` to its address, such as `Kestrel Workshop <live@kestrel.example>`.
    3. Set `EMAIL_SMTP_HOST` to the provider's server for outgoing mail, and `EMAIL_USERNAME` and
       `EMAIL_PASSWORD` to the login there, which often is the address and the app password.
    4. Set `EMAIL_TO` to those who asked to be told, with commas between them, 50 at most. Put
       yourself first: a test goes to the first of them only. For more people set up a mailing
       list, such as listmonk or Mailman, and name its address.
    5. If strangers are among them, set `EMAIL_UNSUBSCRIBE` to an address or a page of yours where
       they can leave. Large providers expect that.

    Port 587 begins in clear and is encrypted before anything is said (STARTTLS); for a server that
    wants TLS from the first byte set `EMAIL_SMTP_PORT=465`. Your login never goes out in clear.

    Everybody gets a mail of their own and sees no other address. The first line of the template is
    the subject, and the heading of the mail. Who could not be told yet is tried again, and nobody
    who has the mail gets it twice. A mail can not be changed, so the end of the stream is told by
    none, unless you set `EMAIL_WHEN_ENDED=reply`.
    """

    name = "email"
    title = "E-mail"
    repeat = Repeat.DOUBLES
    replies = True
    unit = "characters"
    usual_limit = 5000  # ours: a mail may be as long as anybody reads

    to: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = Field(
        description="Addresses of the recipients, with commas between them.", repr=False
    )
    from_: str = setting("Address of the sender, with or without a name before it.")
    smtp_host: str = setting("The server for outgoing mail.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    encryption: Literal["starttls", "tls", "off"] | None = setting(
        "`tls` from the first byte, or `starttls` before anything is said; `off` only in your own "
        "network and without a login. None means `tls` at port 465, else `starttls`.",
        default=None,
    )
    username: str = setting("User at the server.", default="")
    password: SecretStr | None = Field(
        default=None, validate_default=True, description="The user's password."
    )
    unsubscribe: str = setting(
        "Where recipients can leave: an address, or a page (https). Where the page's address says "
        "`{address}` it gets the recipient's, so that one click is enough (RFC 8058).",
        default="",
    )

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, to: tuple[str, ...]) -> tuple[str, ...]:
        if not 0 < len(to) <= MOST:
            raise ValueError(f"must name one address at least and {MOST} at most")
        if not all(map(_ADDRESS.fullmatch, to)):
            raise ValueError("must be addresses like you@example.org")
        return tuple({one.casefold(): one for one in to}.values())

    @field_validator("from_")
    @classmethod
    def _is_a_sender(cls, sender: str) -> str:
        _, address = parseaddr(sender)
        if not _ADDRESS.fullmatch(address) or re.search(r"[\x00-\x1f\x7f]", sender):
            raise ValueError("must be an address like live@example.org or Name <live@example.org>")
        return sender

    @field_validator("smtp_host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        if not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
            raise ValueError("must be a name such as smtp.example.org")
        return host

    @field_validator("encryption")
    @classmethod
    def _is_not_overheard(cls, wish: str | None, others: ValidationInfo) -> str | None:
        if wish == "off" and not is_private(others.data.get("smtp_host", "")):
            raise ValueError("can not be off: it would be overheard outside your own network")
        return wish

    @field_validator("username", "password")
    @classmethod
    def _can_be_said(cls, one: Any, others: ValidationInfo) -> Any:
        said = one.get_secret_value() if isinstance(one, SecretStr) else one
        if said and others.data.get("encryption") == "off":
            raise ValueError("would be sent in clear: encryption is off")
        if said and not said.isascii():
            raise ValueError(
                "must have no letters beyond ASCII: servers differ in how to read them"
            )
        if others.field_name == "password" and bool(said) != bool(others.data.get("username")):
            raise ValueError("and the user name belong together: set both or none")
        return one

    @field_validator("unsubscribe")
    @classmethod
    def _is_a_way_out(cls, way: str) -> str:
        page = re.fullmatch(r"https://[!-;=?-~]+", way)
        if way and not page and not _ADDRESS.fullmatch(way):
            raise ValueError("must be an address, or a page that begins with https://")
        return way

    def publish(self, post: Post) -> Receipt:
        """Who has it is written down at once, so that a try goes on where the last one ended."""
        people = self.to[:1] if post.test else self.to
        book = _Book(self._memory, post)
        waiting = deque(one for one in people if book.of(one) is None)
        problems: dict[str, DeliveryError] = {}
        picture, bare = post.picture, ""
        late = time.monotonic() + ENOUGH
        while waiting and time.monotonic() < late:
            server = _Server(self)
            try:
                with server.conversation():
                    while waiting and time.monotonic() < late:
                        one = waiting[0]
                        problem = server.offers(one)
                        if problem is None:
                            problem = server.gives(self._letter(post, one, picture))
                            if picture and isinstance(problem, Refused):
                                picture, bare = None, f"without its picture: {problem}"
                                continue
                        waiting.popleft()
                        if isinstance(problem, TryLater):
                            problems[one] = problem
                        else:
                            book.write(one, str(problem or ""))
            except DeliveryError as problem:
                if server.in_doubt:  # it concerns one mail: the others get another conversation
                    problems[waiting.popleft()] = Unsure(str(problem))
                    continue
                if isinstance(problem, Unsure):
                    problem = TryLater(str(problem))
                problems |= dict.fromkeys(waiting, problem)
                break
        return self._outcome(post, book, problems, people, bare)

    def _outcome(
        self,
        post: Post,
        book: "_Book",
        problems: dict[str, DeliveryError],
        people: tuple[str, ...],
        bare: str,
    ) -> Receipt:
        """The receipt once nobody waits; until then what is worst of the *problems*."""
        for one in people:
            if said := book.of(one):
                problems[one] = Refused(said)
            elif said is None:
                problems.setdefault(one, TryLater("its turn has not come yet"))
        reasons = _reasons(problems, len(people))
        kinds = problems.values()
        if any(isinstance(one, Unsure) for one in kinds):
            raise Unsure(reasons)
        if any(isinstance(one, Refused) and one.closes for one in kinds):
            raise Refused(reasons, closes=True)
        if waits := [one.wait for one in kinds if isinstance(one, TryLater)]:
            raise TryLater(reasons, max(waits))
        if len(problems) == len(people):
            book.forget()  # a person may try it again, for instance with a full mailbox emptied
            raise Refused(reasons)
        return Receipt(self._message_id(post), note="; ".join(filter(None, (bare, reasons))))

    def check(self) -> Account:
        """A sender whom the login may not write as is found, too."""
        server = _Server(self)
        with wire.nothing_posted(), server.conversation():
            server.hears_from()
        count = len(self.to)
        return Account(self.sender, notes=(f"to {count} recipient{'s' * (count > 1)}",))

    def measure(self, text: str) -> int:
        return len(text)

    @property
    def sender(self) -> str:
        return parseaddr(self.from_)[1]

    @property
    def domain(self) -> str:
        """Ours, as it is known outside; the name of this machine is nobody's business."""
        return self.sender.rpartition("@")[2]

    @property
    def secured(self) -> str:
        return self.encryption or ("tls" if self.smtp_port == 465 else "starttls")

    def _message_id(self, post: Post) -> str:
        """The same on every try, whatever became of those before: readers fold by it what came
        twice, and answers refer to it. So it is not made of `wire_key`, which changes.
        """
        digest = sha256(f"{_page(post)} {self.sender}".encode()).hexdigest()
        return f"<{digest[:32]}@{self.domain}>"

    def _letter(self, post: Post, to: str, picture: Picture | None) -> bytes:
        id_ = self._message_id(post)
        letter = EmailMessage(_Policy(linesep="\r\n"))
        name, address = parseaddr(self.from_)
        letter["From"] = Address(name, addr_spec=address)
        letter["To"] = to
        letter["Subject"] = subject(post.text)
        letter["Date"] = post.worded_at
        letter["Message-ID"] = id_
        letter["Auto-Submitted"] = "auto-generated"
        if post.reply_to:
            letter["In-Reply-To"] = letter["References"] = post.reply_to.id
        leave = self._way_out(to)
        if leave:
            letter["List-Unsubscribe"] = f"<{leave}>"
        if _PLACEHOLDER in self.unsubscribe:  # else one click would not say whose
            letter["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        letter.set_content(post.text + (f"\n\n-- \nUnsubscribe: {leave}" if leave else ""))
        cid = f"picture.{id_[1:-1]}"
        letter.add_alternative(_html(post, leave, cid, picture), subtype="html")
        if picture:
            _, page = letter.iter_parts()
            kind = picture.mime.partition("/")[2]
            page.add_related(
                picture.data,
                "image",
                kind,
                cid=f"<{cid}>",
                disposition="inline",
                filename=picture.file_name,
            )
        # By themselves they would be random, and a repeat not the same bytes.
        for number, part in enumerate(letter.walk()):
            if part.is_multipart():
                part.set_boundary(f"=_{id_[1:33]}_{number}")
        return letter.as_bytes()

    def _way_out(self, to: str) -> str:
        """Where *to* can leave; empty if nowhere."""
        if not self.unsubscribe or "://" in self.unsubscribe:
            return self.unsubscribe.replace(_PLACEHOLDER, quote(to, safe=""))
        return f"mailto:{self.unsubscribe}?subject=unsubscribe"


class _Server:
    """A conversation with the server that takes our mails."""

    def __init__(self, network: Email) -> None:
        self._network = network
        self.in_doubt = False
        """Whether a mail has left that it has not answered."""

    @contextmanager
    def conversation(self) -> Iterator[None]:
        """We are known and the line is encrypted, if that is wanted."""
        ours, password = self._network, self._network.password
        host, port, secured = ours.smtp_host, ours.smtp_port, ours.secured
        total = PATIENCE * wire.TOTAL
        with wire.conversation(host, port, encrypted=secured == "tls", total=total) as self._line:
            self._line.sock.settimeout(PATIENCE * wire.READ)
            with _understood():
                self._smtp = _Smtp(self._line, host, port, ours.domain)
            try:
                with _understood():
                    self._greets()
                    if secured == "starttls":
                        self._smtp.starttls(context=wire.tls())
                        self._greets()
                    if password:
                        self._log_in(ours.username, password)
                yield
                with suppress(OSError):
                    self._smtp.putcmd("quit")
            finally:
                self._smtp.close()

    def _greets(self) -> None:
        code, said = self._smtp.ehlo()  # smtplib's own way would go on with a HELO
        if code != 250:
            raise _meaning(code, said)

    def _log_in(self, username: str, password: SecretStr) -> None:
        """Once: smtplib's own way tries a wrong password in every way there is, and is locked out
        sooner.
        """
        smtp = self._smtp
        offered = smtp.esmtp_features.get("auth", "").upper().split()
        way = next((one for one in ("PLAIN", "LOGIN") if one in offered), None)
        if way is None:
            raise Refused("the server offers no login with a password here")
        smtp.user, smtp.password = username, password.get_secret_value()
        try:
            smtp.auth(way, smtp.auth_plain if way == "PLAIN" else smtp.auth_login)
        except smtplib.SMTPAuthenticationError as said:
            raise _meaning(said.smtp_code, said.smtp_error, closes=True) from None

    def hears_from(self) -> None:
        """Raises if it takes nothing from us."""
        self._smtp.rset()  # whatever became of the mail before
        code, said = self._smtp.mail(self._network.sender)
        if code != 250:
            raise _meaning(code, said, closes=code in _LOCKED_OUT)

    def offers(self, to: str) -> DeliveryError | None:
        """Why it takes no mail for *to*, if it does not. Raises if it takes none from us."""
        self.hears_from()
        code, said = self._smtp.rcpt(to)
        return None if code in (250, 251) else _meaning(code, said, wait=GREYLISTED)

    def gives(self, letter: bytes) -> DeliveryError | None:
        """Why it did not take *letter*, for whom it was offered. Raises if nobody can tell."""
        size = self._smtp.esmtp_features.get("size", "")
        if size.isdecimal() and 0 < int(size) < len(letter):
            return Refused(f"it takes no mail of {len(letter)} bytes")
        self._line.leaves()
        self.in_doubt = True
        try:
            code, said = self._smtp.data(letter)
        except smtplib.SMTPDataError as refusal:
            code, said = refusal.smtp_code, _bytes(refusal.smtp_error)
        if code // 100 not in (2, 4, 5):
            raise self._line.broke("an answer that makes no sense")
        self._line.answered()
        self.in_doubt = False
        return None if code // 100 == 2 else _meaning(code, said)


class _Smtp(smtplib.SMTP):
    """smtplib over a line that is open: it connects to nobody by itself."""

    def __init__(self, line: wire.Line, host: str, port: int, our_name: str) -> None:
        self._line = line
        super().__init__(host, port, our_name)

    def _get_socket(self, *_: object) -> socket.socket:
        return self._line.sock

    def getreply(self) -> tuple[int, bytes]:
        """smtplib's own calls a silence a lost connection, and an endless line an answer."""
        try:
            code, said = super().getreply()
        except smtplib.SMTPServerDisconnected as gone:
            slow = isinstance(gone.__context__, TimeoutError)
            raise (TimeoutError if slow else EOFError) from None
        except smtplib.SMTPResponseException:
            code, said = -1, b""
        if not 200 <= code < 600:
            self.close()
            raise self._line.broke("it says what no mail server says")
        return code, said


class _Policy(EmailPolicy):
    """CPython's own folding loses the space between two encoded words (3.11), and makes such words
    of an id or an address of more than 78 characters, which no program reads there.
    """

    _WHOLE = frozenset({"message-id", "in-reply-to", "references", "list-unsubscribe"})

    def fold_binary(self, name: str, value: Any) -> bytes:
        said = str(value)
        if name == "From":
            [sender] = value.addresses
            named, address = sender.display_name, sender.addr_spec
            words = f"{self._encoded(name, named)}{self.linesep} <{address}>"
            said = formataddr((named, address)) if named.isascii() else words
        elif name == "Subject":
            said = said if said.isascii() else self._encoded(name, said)
        elif name.lower() not in self._WHOLE:
            return super().fold_binary(name, value)
        return f"{name}: {said}{self.linesep}".encode("ascii")

    def _encoded(self, name: str, words: str) -> str:
        return Header(words, "utf-8", header_name=name).encode(linesep=self.linesep)


class _Book:
    """Who has a post, and who never will: by a digest, for whom it was is nobody's business."""

    def __init__(self, memory: Memory, post: Post) -> None:
        self._memory, self._title = memory, _page(post)
        self._pages: dict[str, dict[str, str]] = json.loads(memory.get("told") or "{}")
        self._page: dict[str, str] = self._pages.pop(self._title, {})

    def of(self, one: str) -> str | None:
        """Empty: has it. None: neither has it nor was refused, else why."""
        return self._page.get(self._name(one))

    def write(self, one: str, refusal: str = "") -> None:
        self._page[self._name(one)] = refusal
        recent = dict(list(self._pages.items())[1 - PAGES :])
        self._memory.put("told", json.dumps({**recent, self._title: self._page}))

    def forget(self) -> None:
        self._memory.put("told", json.dumps(self._pages))

    def _name(self, one: str) -> str:
        return sha256(f"{self._title} {one.casefold()}".encode()).hexdigest()[:16]


def subject(text: str) -> str:
    """The first line of *text*, cut between two words or at least two signs. What looks like an
    encoded word is none.
    """
    line = " ".join("".join(text.strip().splitlines()[:1]).split())
    signs = regex.findall(r"\X", line)
    if len(signs) > SUBJECT:
        kept = "".join(signs[: SUBJECT - 1])
        line = f"{kept.rpartition(' ')[0] or kept}…"
    return line.replace("=?", f"={ZERO_WIDTH_SPACE}?")


def _html(post: Post, leave: str, cid: str, picture: Picture | None) -> str:
    heading, _, rest = post.text.strip().partition("\n")
    ours = [post.card.url] if post.card else []
    if post.show:
        ours += [post.show.url, post.show.replay_url]
    parts = [_HEADING.format(_linked(heading, ours))]
    if picture:
        alt = html.escape(picture.alt)
        image = _IMAGE.format(cid, alt, min(picture.width, 600))
        parts.append(f"<p>{_link(post.card.url, image) if post.card else image}</p>")
    paragraphs = filter(None, re.split(r"\n\s*\n", rest.strip()))
    parts += [f"<p>{_linked(paragraph, ours)}</p>" for paragraph in paragraphs]
    if leave:
        parts.append(_SMALL.format(html.escape(leave)))
    return _PAGE.format(subject=html.escape(subject(post.text)), parts="\n".join(parts))


def _linked(text: str, ours: Iterable[str]) -> str:
    """As HTML. Only our own addresses can be clicked, none that a title brings."""
    addresses = set(ours) - {""}
    words = [
        _link(word, html.escape(word)) if word in addresses else html.escape(word)
        for word in re.split(r"(\s+)", text)
    ]
    return "".join(words).replace("\n", "<br>\n")


def _link(url: str, shown: str) -> str:
    return f'<a href="{html.escape(url)}">{shown}</a>'


@contextmanager
def _understood() -> Iterator[None]:
    """Before the first mail: what smtplib makes of an answer becomes one of the errors."""
    try:
        yield
    except smtplib.SMTPResponseException as said:
        raise _meaning(said.smtp_code, said.smtp_error) from None
    except smtplib.SMTPNotSupportedError:
        raise Refused("the server offers no STARTTLS at this port: is it 465?") from None


def _meaning(
    code: int, said: bytes | str, *, closes: bool = False, wait: timedelta = timedelta()
) -> DeliveryError:
    """4yz is later, 5yz is never (RFC 5321, 4.2.1)."""
    reason = f"{code} {wire.plain(_masked(_bytes(said).decode('utf-8', 'replace')))}".strip()
    return Refused(reason, closes=closes) if code >= 500 else TryLater(reason, wait)


def _bytes(said: bytes | str) -> bytes:
    return said if isinstance(said, bytes) else said.encode()


def _reasons(problems: Mapping[str, DeliveryError], everybody: int) -> str:
    """For the operator, with no address in full; empty if everybody has it."""
    by_reason: dict[str, list[str]] = {}
    for one, problem in problems.items():
        by_reason.setdefault(str(problem), []).append(_masked(one))
    if not by_reason:
        return ""
    told = []
    for reason, those in by_reason.items():
        more = f" and {len(those) - 3} more" if len(those) > 3 else ""
        told.append(f"{', '.join(those[:3])}{more}: {reason}")
    if everybody == 1:
        return next(iter(by_reason))
    return f"{everybody - len(problems)} of {everybody} have it; {'; '.join(told)}"


def _masked(text: str) -> str:
    """Addresses are somebody's: of each stays the first letter and the domain."""
    return _ANYBODY.sub(r"\1…@\2", text)


def _page(post: Post) -> str:
    return f"{post.key}.{post.edition}"
