"""The picture of a post: what the stream shows now, else the server's logo, else none.

What Owncast serves is a stranger's file: it is told by its content, and only a fresh JPEG of ours
goes on. Sources: thumbnailGenerator.go, images.go and logo.go of owncast/owncast 0.1.3, which takes
a picture every 20 s and serves PNG and SVG as `image/jpeg`, too; Pillow 13 JpegImagePlugin.py.
"""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import structlog

from announcer import wire
from announcer.network import DeliveryError, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

log = structlog.get_logger("announcer.pictures")

PATIENCE, REQUEST = 5.0, 3.0
"""Seconds that a post waits for its picture, and that one request of it may take."""
FRESH = 15.0
"""Seconds that one look serves all destinations, also one that found nothing."""
SIZE = 8_000_000
"""Bytes of a file that is looked at: a frame of 3840 x 2160 has two or three million."""
PIXELS = 20_000_000
"""Decoded they take 80 MB; of a 12 kB file there can be a hundred million."""
MOST = 950_000
"""Bytes that every network takes: Bluesky's limit is 1,000,000, the others' are in megabytes."""
STEPS = ((1280, 85), (1280, 70), (960, 70), (640, 60))
"""Longest edge in pixels and JPEG quality; the first that has at most MOST bytes is used."""
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
"""What Owncast's pictures can be. Pillow knows more, some by starting other programs."""
THUMBNAIL, LOGO = "/thumbnail.jpg", "/logo/external"


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture without its description, and whether it shows the stream or only the logo."""

    picture: Picture
    of_stream: bool


@dataclass(frozen=True, slots=True)
class _Look:
    begun: float
    shot: "Future[Shot | None]"


class Pictures:
    """The pictures of one Owncast server, asked at its configured address. Safe to share between
    threads.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._looks: dict[bool, _Look] = {}

    def take(self, *, of_stream: bool) -> Shot | None:
        """A picture, of the stream if that is wanted and can be had. None if there is none within
        PATIENCE seconds. Never raises.
        """
        with self._lock:
            look = self._looks.get(of_stream)
            if look is None or time.monotonic() - look.begun > FRESH:
                look = self._looks[of_stream] = self._begin(of_stream)
        try:
            return look.shot.result(max(0.0, look.begun + PATIENCE - time.monotonic()))
        except TimeoutError:
            return None

    def _begin(self, of_stream: bool) -> _Look:
        """In a thread of its own, because a look for the server's name knows no time limit."""
        look = _Look(time.monotonic(), Future())
        places = (THUMBNAIL, LOGO) if of_stream else (LOGO,)
        thread = threading.Thread(
            target=lambda: look.shot.set_result(self._first_good(places)),
            name="pictures",
            daemon=True,
        )
        thread.start()
        return look

    def _first_good(self, places: tuple[str, ...]) -> Shot | None:
        for place in places:
            try:
                return Shot(made_small(self._fetch(place)), place == THUMBNAIL)
            except DeliveryError as problem:
                log.info("picture", of=place, outcome="none", reason=str(problem))
            except Exception as problem:  # noqa: BLE001  # a decoder stumbles in a hundred ways
                log.info("picture", of=place, outcome="unfit", reason=type(problem).__name__)
        return None

    def _fetch(self, place: str) -> bytes:
        # Owncast lets its pictures be cached: without a query of its own an old one could come.
        address = f"{self._url}{place}?{time.time_ns()}"
        with wire.answered(), wire.Session(self._url, total=REQUEST, size=SIZE) as session:
            answer = session.get(address)
        if answer.status_code != 200:
            raise wire.from_status(answer.status_code, "", answer.headers)
        return answer.content


def made_small(data: bytes) -> Picture:
    """A JPEG of at most MOST bytes, with nothing in it but the pixels of what *data* shows, of an
    animation the first frame. Raises whatever Pillow raises if it is no picture.
    """
    from PIL import Image, ImageOps  # 0.1 s and 15 MB, only when there is a picture

    with Image.open(BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > PIXELS:
            raise ValueError("too many pixels")
        longest = STEPS[0][0]
        image.draft("RGB", (2 * longest, 2 * longest))  # a big JPEG is decoded at half its size
        flat = _on_white(ImageOps.exif_transpose(image))
    for edge, quality in STEPS:
        flat.thumbnail((edge, edge))
        file = BytesIO()
        flat.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST:
            return Picture(file.getvalue(), *flat.size)
    raise ValueError("too many bytes")


def _on_white(image: "Image") -> "Image":
    """On a canvas of its own: Pillow would copy comments and XMP into the new file."""
    from PIL import Image  # as above

    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
    else:
        canvas = Image.new("RGB", image.size)
        canvas.paste(image.convert("RGB"))
    return canvas
