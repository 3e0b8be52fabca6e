"""A request as its bytes come in: is that all of it? Asked before it gets a thread, so that who
dawdles over one keeps nobody out. Judged too kindly, a request is still read with a time limit; all
that matters is checked again by gunicorn and the door.

Framing: RFC 9112, sections 6 and 7.
"""

import re
from enum import Enum

LONGEST_HEAD = 32 * 1024
"""Bytes of a request line and headers."""
LARGEST = 256 * 1024
"""Bytes of a body."""
LARGEST_FRAMED = 2 * LARGEST
"""Bytes of a body in chunks, their sizes and the trailers included."""
LONGEST_SIZE = 64
"""Bytes of a line that tells the size of a chunk; what else it may say is of no use to anybody."""
LENGTH = re.compile(rb"[0-9]{1,15}")
SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")


class Verdict(Enum):
    """*value* is the status line for what is refused."""

    MORE = ""
    WHOLE = "whole"
    BAD = "400 Bad Request"
    LARGE = "413 Content Too Large"
    LONG = "431 Request Header Fields Too Large"
    PACKED = "501 Not Implemented"

    @property
    def refused(self) -> bool:
        return self not in (Verdict.MORE, Verdict.WHOLE)


class Gathering:
    """The bytes of one request, as far as they have come. What follows it may be among them.

    *expects* is true once the client waits to be told that its body is welcome.
    """

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.expects = False
        self._body = 0
        self._at = 0
        self._length: int | None = None
        self._chunked = False
        self._sized = 0

    def add(self, more: bytes) -> Verdict:
        """Raises nothing, whatever *more* is. Takes time in proportion to it."""
        looked = max(0, len(self.bytes) - 3)
        self.bytes += more
        if not self._body:
            end = self.bytes.find(b"\r\n\r\n", looked)
            if (len(self.bytes) if end < 0 else end) > LONGEST_HEAD:
                return Verdict.LONG
            if end < 0:
                return Verdict.MORE
            self._body = self._at = end + 4
            if odd := self._understand(bytes(self.bytes[:end])):
                return odd
        if self._chunked:
            return self._chunks()
        length = self._length or 0
        if length > LARGEST:
            return Verdict.LARGE
        return Verdict.WHOLE if len(self.bytes) >= self._body + length else Verdict.MORE

    def _understand(self, head: bytes) -> Verdict | None:
        """None if it can be told where the body ends. WHOLE is for gunicorn to refuse."""
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            match name.strip().lower():
                case b"content-length":
                    value = value.strip()
                    if self._length is not None or not LENGTH.fullmatch(value):
                        return Verdict.WHOLE
                    self._length = int(value)
                case b"transfer-encoding":
                    if self._chunked or value.strip().lower() != b"chunked":
                        return Verdict.PACKED
                    self._chunked = True
                case b"expect":
                    self.expects = value.strip().lower() == b"100-continue"
        return Verdict.WHOLE if self._chunked and self._length is not None else None

    def _chunks(self) -> Verdict:
        if len(self.bytes) - self._body > LARGEST_FRAMED:
            return Verdict.LARGE
        while True:
            end = self.bytes.find(b"\r\n", self._at, self._at + LONGEST_SIZE + 2)
            if end < 0:
                late = len(self.bytes) - self._at > LONGEST_SIZE
                return Verdict.BAD if late else Verdict.MORE
            found = SIZE.fullmatch(self.bytes, self._at, end)
            if not found:
                return Verdict.BAD
            size = int(found[1], 16)
            if not size:
                if self.bytes.find(b"\r\n\r\n", end) >= 0:
                    return Verdict.WHOLE
                return Verdict.LONG if len(self.bytes) - end > LONGEST_HEAD else Verdict.MORE
            if self._sized + size > LARGEST:
                return Verdict.LARGE
            if len(self.bytes) < end + 2 + size + 2:
                return Verdict.MORE
            self._sized += size
            self._at = end + 2 + size + 2
