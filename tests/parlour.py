"""An XMPP server with one room, without TLS, that behaves as it is told."""

import base64
import socket
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from announcer.contract import SECRET, Behaviour

CLIENT, ROOM = "{jabber:client}", "kestrel@rooms.localhost"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
USER = "http://jabber.org/protocol/muc#user"
MAM, RSM = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"
PAGE = 2
"""It gives no more messages of its archive at once, whatever it is asked for."""
NOT_NOW = Behaviour.BUSY, Behaviour.REFUSES
ERRORS = {NOT_NOW[0]: "wait resource-constraint", NOT_NOW[1]: "modify not-acceptable"}


@dataclass
class Parlour:
    """*login*, *door*, *said* and *looked* are what logging in, entering, saying and looking into
    the archive are refused with, as `type condition`; the first has only a condition. *ends* is a
    stream error, in place of an answer to what was said.
    """

    behaviour: Behaviour = Behaviour.GOOD
    shown: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    stanzas: list[ET.Element] = field(default_factory=list)
    """Every message that came, as it came."""
    heard: bytes = b""
    mechanisms: tuple[str, ...] = ("PLAIN",)
    login = door = said = looked = ends = ""
    taken: frozenset[str] = frozenset()
    """Nicknames of others."""
    exists = archived = keeps_ids = True
    role, password = "participant", SECRET

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                peer, _ = self._listening.accept()
                threading.Thread(target=self._meet, args=(peer,), daemon=True).start()

    def _meet(self, peer: socket.socket) -> None:
        with suppress(OSError, EOFError), peer:
            peer.settimeout(5)
            if self.behaviour is Behaviour.DEAF:
                self._over.wait(3)
            elif self.behaviour is Behaviour.NONSENSE:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.recv(1000)
            elif self.behaviour is not Behaviour.HANGS_UP:
                _Talk(self, peer).goes_on()

    def wait(self) -> None:
        self._over.wait(3)


class _Talk:
    def __init__(self, parlour: Parlour, peer: socket.socket) -> None:
        self._parlour, self._peer = parlour, peer
        self._nick = ""
        self._inside = False
        self._parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))

    def goes_on(self) -> None:
        depth = 0
        while piece := self._peer.recv(65536):
            self._parlour.heard += piece
            self._parser.feed(piece)
            for event, element in self._parser.read_events():  # type: ignore[misc]  # as asked for
                depth += 1 if event == "start" else -1
                if event == "start" and depth == 1:
                    self._greets()
                if event == "end" and depth == 1 and self._answers(element):  # type: ignore[arg-type]  # as above
                    self._parser, depth = ET.XMLPullParser(("start", "end")), 0
                    break

    def _says(self, words: str) -> None:
        self._peer.sendall(words.encode())

    def _greets(self) -> None:
        ways = "".join(f"<mechanism>{one}</mechanism>" for one in self._parlour.mechanisms)
        offer = f"<mechanisms xmlns='{SASL}'>{ways}</mechanisms>"
        if self._inside:
            offer = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
        self._says(
            "<?xml version='1.0'?><stream:stream from='localhost' id='s1' version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
            f"<stream:features>{offer}</stream:features>"
        )

    def _answers(self, stanza: ET.Element) -> bool:
        """Whether the stream begins anew."""
        kind = stanza.tag.partition("}")[2]
        if kind == "auth":
            return self._lets_in(stanza)
        if kind == "iq":
            self._informs(stanza)
        elif kind == "presence":
            self._opens(stanza)
        elif kind == "message":
            self._takes(stanza)
        return False

    def _lets_in(self, auth: ET.Element) -> bool:
        right = (
            base64.b64decode(auth.text or "") == f"\0announcer\0{self._parlour.password}".encode()
        )
        why = self._parlour.login or ("" if right else "not-authorized")
        if self._parlour.behaviour is Behaviour.LOCKED_OUT:
            why = "not-authorized"
        if why:
            self._says(f"<failure xmlns='{SASL}'><{why}/></failure>")
            return False
        self._inside = True
        self._says(f"<success xmlns='{SASL}'/>")
        return True

    def _informs(self, iq: ET.Element) -> None:
        asked = iq[0].tag
        content = ""
        if asked.endswith("bind"):
            content = f"<bind xmlns='{asked[1:-5]}'><jid>announcer@localhost/r</jid></bind>"
        elif asked.endswith("disco#info}query"):
            feature = f"<feature var='{MAM}'/>" if self._parlour.archived else ""
            content = f"<query xmlns='{asked[1:-6]}'>{feature}</query>"
        elif self._parlour.looked:
            self._refuses(iq, self._parlour.looked)
            return
        else:
            after = iq.findtext(f".//{{{RSM}}}after")
            first = int(after) + 1 if after else 0
            last = min(first + PAGE, len(self._parlour.stanzas)) - 1
            for number in range(first, last + 1):
                self._remembers(iq, number, self._parlour.stanzas[number])
            complete = "complete='true'" if last + 1 >= len(self._parlour.stanzas) else ""
            page = f"<set xmlns='{RSM}'><last>{last}</last></set>" if last >= first else ""
            content = f"<fin xmlns='{MAM}' {complete}>{page}</fin>"
        sender = f"from='{iq.attrib['to']}' " if "to" in iq.attrib else ""
        self._says(f"<iq {sender}id='{iq.attrib['id']}' type='result'>{content}</iq>")

    def _remembers(self, iq: ET.Element, number: int, kept: ET.Element) -> None:
        query = iq[0].attrib.get("queryid", "")
        self._says(
            f"<message from='{ROOM}'><result xmlns='{MAM}' queryid='{query}' id='kept-{number}'>"
            f"<forwarded xmlns='urn:xmpp:forward:0'>{_written(kept)}</forwarded></result></message>"
        )

    def _refuses(self, stanza: ET.Element, how: str) -> None:
        kind, condition = how.split()
        self._says(
            f"<{stanza.tag.partition('}')[2]} from='{stanza.attrib['to']}' type='error' "
            f"id='{stanza.attrib.get('id', '')}'><error type='{kind}'>"
            f"<{condition} xmlns='{STANZAS}'/><text xmlns='{STANZAS}'>in its words</text>"
            f"</error></{stanza.tag.partition('}')[2]}>"
        )

    def _opens(self, presence: ET.Element) -> None:
        nick = presence.attrib["to"].partition("/")[2]
        if self._parlour.door:
            return self._refuses(presence, self._parlour.door)
        if nick in self._parlour.taken:
            return self._refuses(presence, "cancel conflict")
        self._nick = nick
        created = "" if self._parlour.exists else "<status code='201'/>"
        others = f"<presence from='{ROOM}/somebody'><x xmlns='{USER}'><item role='moderator'/></x>"
        self._says(
            f"{others}</presence><presence from='{ROOM}/{escape(nick)}'><x xmlns='{USER}'>"
            f"<item role='{self._parlour.role}'/><status code='110'/>{created}</x></presence>"
        )
        return None

    def _takes(self, message: ET.Element) -> None:
        parlour = self._parlour
        if refusal := ERRORS.get(parlour.behaviour, parlour.said):
            return self._refuses(message, refusal)
        if parlour.ends:
            self._says(
                f"<stream:error><{parlour.ends} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                "</stream:error></stream:stream>"
            )
            return None
        parlour.shown.append(message.findtext(f"{CLIENT}body") or "")
        parlour.identities.append(message.attrib["id"])
        message.attrib["from"] = f"{ROOM}/{self._nick}"
        if not parlour.keeps_ids:
            message.attrib["id"] = "the-room's"
        number = len(parlour.stanzas)
        parlour.stanzas.append(message)
        if parlour.behaviour is Behaviour.SILENT:
            parlour.wait()
        if parlour.behaviour is Behaviour.CUTS:
            raise EOFError
        echo = deepcopy(message)
        echo.append(ET.Element("{urn:xmpp:sid:0}stanza-id", {"by": ROOM, "id": f"kept-{number}"}))
        self._says(f"<message from='{ROOM}/somebody' type='groupchat'><body>Hi</body></message>")
        self._says(_written(echo))
        return None


def _written(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode")


@contextmanager
def parlour() -> Iterator[Parlour]:
    one = Parlour()
    yield one
    one.stop()
