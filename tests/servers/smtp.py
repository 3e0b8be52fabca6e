"""A real mail server (aiosmtpd), in the process of the tests, and the mailboxes behind it."""

import asyncio
import email
import email.policy
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.rogue import Authority
from tests.servers import free_port

SECONDS = 10.0


@dataclass(frozen=True)
class Mail:
    """One mail as it was taken, with those whom it was taken for."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage = field(repr=False)
    raw: bytes = field(repr=False)

    def text(self, kind: str = "plain") -> str:
        """Its part of this kind: `plain` or `html`. Empty: it has none."""
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part else ""


@dataclass
class MailServer:
    """The server, running from construction until `stop`. It demands TLS, and then a password.

    *answers* says what a recipient is answered, *at_the_end* what the whole mail is: change them.
    Without an answer of its own a recipient who begins with `nobody` does not exist, and one who
    begins with `grey` is to be tried again later.
    """

    authority: Authority
    """Its certificate is for `localhost` and 127.0.0.1."""
    tls_from_the_start: bool = False
    """As at port 465, and not by STARTTLS."""
    user: str = "kestrel"
    password: str = field(default="correct-kestrel", repr=False)
    answers: dict[str, str] = field(default_factory=dict)
    at_the_end: str = "250 2.0.0 queued"
    mails: list[Mail] = field(default_factory=list)
    """Oldest first."""

    def __post_init__(self) -> None:
        self.host, self.port = "127.0.0.1", free_port()
        self.url = f"smtp://{self.host}:{self.port}"
        certificate = self.authority.server("localhost", "127.0.0.1")
        self._controller = _Controller(
            self,
            hostname=self.host,
            port=self.port,
            ssl_context=certificate if self.tls_from_the_start else None,
            tls_context=None if self.tls_from_the_start else certificate,
            require_starttls=not self.tls_from_the_start,
            authenticator=self._knows,
            auth_required=True,
            auth_require_tls=not self.tls_from_the_start,
        )
        self._controller.start()

    def mails_to(self, recipient: str) -> list[Mail]:
        """What lies in this mailbox, oldest first."""
        return [mail for mail in self.mails if recipient in mail.recipients]

    def stop(self) -> None:
        hanging_up = self._controller.hang_up()
        asyncio.run_coroutine_threadsafe(hanging_up, self._controller.loop).result(SECONDS)
        self._controller.stop()

    def _knows(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, said: object
    ) -> AuthResult:
        right = LoginPassword(self.user.encode(), self.password.encode())
        return AuthResult(success=said == right, handled=False)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd looks for this name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: Iterable[str],
    ) -> str:
        answer = self.answers.get(address, "250 2.1.5 OK")
        if address not in self.answers and address.startswith("nobody"):
            answer = "550 5.1.1 no such user"
        if address not in self.answers and address.startswith("grey"):
            answer = "451 4.7.1 greylisted, try again later"
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        raw = envelope.content or b""
        raw = raw.encode() if isinstance(raw, str) else raw
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        if self.at_the_end.startswith("2"):
            recipients = tuple(envelope.rcpt_tos)
            self.mails.append(Mail(envelope.mail_from or "", recipients, message, raw))
        return self.at_the_end


class _Controller(Controller):
    _met: Sequence[SMTP] = ()

    def factory(self) -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it can't tell that a connection was always encrypted
            self._met = [*self._met, SMTP(self.handler, **self.SMTP_kwargs)]
        return self._met[-1]

    async def hang_up(self) -> None:
        """Of itself it would leave connections open that it has not seen the end of."""
        for connection in self._met:
            if isinstance(connection.transport, asyncio.WriteTransport):
                connection.transport.abort()
        await asyncio.sleep(0.01)
