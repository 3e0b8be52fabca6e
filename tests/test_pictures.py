"""Whatever a server shows as its picture: a small clean JPEG comes of it, or none, and soon."""

import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from announcer import pictures
from announcer.pictures import MOST, PATIENCE, Pictures, Shot, made_small

RED, GREEN = (220, 20, 20), (20, 160, 40)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(colour: tuple[int, ...] = RED, size: tuple[int, int] = (1920, 1080)) -> Image.Image:
    return Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour)


def empty_png(width: int, height: int) -> bytes:
    """Black and white, all of one colour: a few kilobytes, however many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes((width + 7) // 8 + 1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


THUMBNAIL, LOGO = encoded(plain(RED)), encoded(plain(GREEN, (400, 400)), "PNG")


@dataclass
class Owncast:
    """A real server that shows these two. *asked* holds every path with its query."""

    address: str = ""
    thumbnail: Callable[[], Response] = lambda: Response(THUMBNAIL, mimetype="image/jpeg")
    logo: Callable[[], Response] = lambda: Response(LOGO, mimetype="image/png")
    asked: list[str] = field(default_factory=list)

    def shows(self, thumbnail: bytes, status: int = 200) -> None:
        """As image/jpeg, like Owncast, whatever it is."""
        self.thumbnail = lambda: Response(thumbnail, status, mimetype="image/jpeg")

    def has_no_logo(self) -> None:
        self.logo = lambda: Response("not found", 404)

    def answer(self, request: Request) -> Response:
        self.asked.append(request.full_path)
        if request.path == "/thumbnail.jpg":
            return self.thumbnail()
        return self.logo() if request.path == "/logo/external" else Response("", 404)


@pytest.fixture
def owncast() -> Iterator[Owncast]:
    there = Owncast()
    server = make_server("127.0.0.1", 0, Request.application(there.answer), threaded=True)
    there.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


def taken(owncast: Owncast, *, of_stream: bool = True) -> Shot | None:
    return Pictures(owncast.address).take(of_stream=of_stream)


def colour(shot: Shot | None) -> tuple[int, ...]:
    """Of the middle, in steps that JPEG does not touch."""
    assert shot
    with Image.open(BytesIO(shot.picture.data)) as image:
        assert image.format == "JPEG"
        found = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(found, tuple)
    return tuple(20 * round(value / 20) for value in found)


# Which picture


def test_a_running_stream_is_shown_as_it_is_now(owncast: Owncast) -> None:
    shot = taken(owncast)
    assert shot
    assert shot.of_stream
    assert colour(shot) == RED
    assert (shot.picture.width, shot.picture.height) == (1280, 720)


def test_before_it_has_a_picture_of_its_own_the_logo_is_shown(owncast: Owncast) -> None:
    shot = taken(owncast, of_stream=False)
    assert shot
    assert not shot.of_stream
    assert colour(shot) == GREEN
    assert [path.partition("?")[0] for path in owncast.asked] == ["/logo/external"]


def test_no_cache_on_the_way_can_know_the_address(owncast: Owncast) -> None:
    for _ in range(2):
        taken(owncast)
    first, second = owncast.asked
    assert first != second


def test_one_look_serves_all_destinations(owncast: Owncast) -> None:
    there, shots = Pictures(owncast.address), list[Shot | None]()
    threads = [
        threading.Thread(target=lambda: shots.append(there.take(of_stream=True))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shots) == 8
    assert len({shot.picture.digest for shot in shots if shot}) == 1
    assert len(owncast.asked) == 1


def test_a_later_look_sees_a_later_picture(
    owncast: Owncast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "FRESH", 0.0)
    there = Pictures(owncast.address)
    there.take(of_stream=True)
    owncast.shows(encoded(plain(GREEN)))
    assert colour(there.take(of_stream=True)) == GREEN


# What can not be shown

UNFIT = [
    pytest.param(b"not found", 404, id="404"),
    pytest.param(b"down", 503, id="503"),
    pytest.param(b"", 200, id="0 bytes"),
    pytest.param(SVG, 200, id="SVG"),
    pytest.param(b"<html>Log in to the hotel's network</html>", 200, id="HTML"),
    pytest.param(THUMBNAIL + bytes(20_000_000), 200, id="20 MB"),
    pytest.param(THUMBNAIL[: len(THUMBNAIL) // 2], 200, id="half a picture"),
    pytest.param(empty_png(5_000, 5_000), 200, id="25 million pixels"),
    pytest.param(empty_png(10_000, 10_000), 200, id="100 million pixels"),
    pytest.param(empty_png(30_000, 30_000), 200, id="900 million pixels"),
    pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 200, id="PostScript"),
    pytest.param(encoded(plain(), "TIFF"), 200, id="TIFF"),
    pytest.param(b"GIF89a" + bytes(7), 200, id="a GIF without a frame"),
    pytest.param(b"\x89PNG\r\n\x1a\n" + b"\xff" * 500, 200, id="a PNG in name only"),
]


@pytest.mark.parametrize(("thumbnail", "status"), UNFIT)
def test_e25_what_is_no_fit_picture_gives_way_to_the_logo(
    owncast: Owncast, thumbnail: bytes, status: int
) -> None:
    owncast.shows(thumbnail, status)
    shot = taken(owncast)
    assert shot
    assert not shot.of_stream
    assert colour(shot) == GREEN


@pytest.mark.parametrize(("thumbnail", "status"), UNFIT)
def test_e25_where_the_logo_is_none_either_there_is_no_picture(
    owncast: Owncast, thumbnail: bytes, status: int
) -> None:
    owncast.shows(thumbnail, status)
    owncast.has_no_logo()
    assert taken(owncast) is None


def test_a_redirect_is_not_followed(owncast: Owncast) -> None:
    elsewhere = {"Location": f"{owncast.address}/logo/external"}
    owncast.thumbnail = lambda: Response("", 302, elsewhere)
    owncast.has_no_logo()
    assert taken(owncast) is None
    assert len(owncast.asked) == 2


# How long it may take


def drip() -> Response:
    """A byte now and then, for longer than anybody waits."""

    def bytes_of_it() -> Iterator[bytes]:
        for byte in THUMBNAIL[:60]:
            time.sleep(0.25)
            yield bytes([byte])

    return Response(bytes_of_it(), mimetype="image/jpeg")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that a look takes at most, shorter than in real life."""
    monkeypatch.setattr(pictures, "PATIENCE", 0.8)
    monkeypatch.setattr(pictures, "REQUEST", 0.5)
    return 0.8


def test_e25_a_slow_server_holds_up_nobody_for_long(owncast: Owncast, impatient: float) -> None:
    owncast.thumbnail = owncast.logo = drip
    there, begun = Pictures(owncast.address), time.monotonic()
    assert [there.take(of_stream=True) for _ in range(5)] == [None] * 5
    assert time.monotonic() - begun < impatient + 2.5, "all five together wait once"


def test_a_slow_thumbnail_leaves_time_for_the_logo(owncast: Owncast, impatient: float) -> None:
    owncast.thumbnail = drip
    assert colour(taken(owncast)) == GREEN


def test_a_server_that_says_nothing_holds_up_nobody_for_long(impatient: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes the call and says nothing
        begun = time.monotonic()
        there = Pictures(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert there.take(of_stream=True) is None
        assert time.monotonic() - begun < impatient + 2.5


def test_a_look_for_its_name_that_takes_for_ever_holds_up_nobody_for_long(
    impatient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def lookup(*_: object, **__: object) -> list[Any]:
        over.wait(5)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    begun = time.monotonic()
    assert Pictures("http://owncast.test").take(of_stream=True) is None
    assert time.monotonic() - begun < impatient + 2.5
    over.set()


def test_a_server_that_is_not_there_is_no_reason_to_wait(owncast: Owncast) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    begun = time.monotonic()
    assert Pictures(f"http://127.0.0.1:{port}").take(of_stream=True) is None
    assert time.monotonic() - begun < PATIENCE


# What goes on


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 120).convert("RGB")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(noise(3840, 2160), quality=30), id="a busy frame"),
        pytest.param(encoded(noise(1500, 1500), "PNG"), id="a busy logo"),
        pytest.param(encoded(plain(size=(12_000, 1))), id="a line"),
        pytest.param(encoded(plain(size=(1, 1)), "GIF"), id="a dot"),
        pytest.param(encoded(plain().convert("CMYK")), id="CMYK"),
        pytest.param(encoded(plain().convert("P"), "PNG"), id="a palette"),
        pytest.param(encoded(plain().convert("1"), "PNG"), id="black and white"),
        pytest.param(encoded(Image.new("I;16", (640, 480), 9_000), "PNG"), id="16 bits of grey"),
        pytest.param(encoded(plain(), "WEBP"), id="WebP"),
    ],
)
def test_whatever_it_was_it_becomes_a_small_jpeg(data: bytes) -> None:
    picture = made_small(data)
    assert len(picture.data) <= MOST
    with Image.open(BytesIO(picture.data)) as image:
        assert (image.format, image.mode, image.size) == (
            "JPEG",
            "RGB",
            (picture.width, picture.height),
        )
        assert max(image.size) <= 1280


def test_nothing_but_the_pixels_goes_on() -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "a workshop at 51.5 N", "Kestrel"
    original = encoded(plain(), exif=exif, comment=b"made at home", xmp=b"<x:xmpmeta kestrel/>")
    assert b"51.5 N" in original
    assert b"made at home" in original
    with Image.open(BytesIO(made_small(original).data)) as image:
        assert not image.getexif()
        assert image.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_picture_taken_sideways_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = made_small(encoded(plain(size=(400, 300)), exif=exif))
    assert (picture.width, picture.height) == (300, 400)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_becomes_white(kind: str) -> None:
    picture = made_small(encoded(plain((0, 0, 0, 0), (300, 300)), kind))
    assert colour(Shot(picture, of_stream=False)) == (260, 260, 260)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_becomes_its_first_frame(kind: str) -> None:
    frames = [plain(RED, (300, 300)), plain(GREEN, (300, 300))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert colour(Shot(made_small(data), of_stream=True)) == RED
