"""The two figures that no scaled test can show: thirty real seconds, and ten real gigabytes."""

import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from announcer import wire
from announcer.network import Unsure
from tests.rogue import OK, SECRET, Serve, Server

MEMORY = """
import resource, sys
from announcer import wire
from announcer.network import Unsure

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def meets(url):
    try:
        with wire.answered(), wire.Session(url) as session:
            session.get(url)
    except Unsure as problem:
        assert "too big" in str(problem), problem
    else:
        raise SystemExit("it was taken")

meets(sys.argv[1])  # whatever is loaded for the first answer
before = most()
for url in sys.argv[2:]:
    meets(url)
print(most() - before)
"""


def asked(server: Server) -> float:
    """Seconds until nobody waits for an answer of it any more."""
    begun = time.monotonic()
    with pytest.raises(Unsure, match="no answer in time"), wire.answered():
        wire.Session(server.origin).post(f"{server.origin}/{SECRET}", json={"text": "live"})
    return time.monotonic() - begun


def test_e02_e03_the_real_limits_end_silence_and_a_byte_every_four_seconds(serve: Serve) -> None:
    silent = serve(then="hang")
    dripping = serve(OK + b"Content-Length: 99\r\n\r\n", *[b" "] * 30, pause=4.0)
    with ThreadPoolExecutor(2) as pool:
        silence, drips = pool.map(asked, (silent, dripping))
    assert 19 < silence < 22
    assert 29 < drips < 32
    assert len(silent.heard) == len(dripping.heard) == 1


def test_e07_ten_gigabytes_in_ten_megabytes_leave_the_memory_flat(serve: Serve) -> None:
    """As gzip, as deflate, in one another, and as a body that never ends."""
    gzip, deflate = _bomb(31), _bomb(zlib.MAX_WBITS)
    twice = zlib.compressobj(9, wbits=31)
    packed = twice.compress(b"".join(gzip)) + twice.flush()
    small = [bytes(3_000_000)]
    servers = [
        serve(*_head(""), *small),
        serve(*_head("gzip"), *gzip),
        serve(*_head("deflate"), *deflate),
        serve(*_head("gzip, gzip"), packed),
        serve(*_head(""), *[bytes(65536)] * 10_000),
    ]
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, *[server.origin for server in servers]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 25, "megabytes"


def _head(encoding: str) -> list[bytes]:
    said = f"Content-Encoding: {encoding}\r\n" if encoding else ""
    return [OK + f"Connection: close\r\n{said}\r\n".encode()]


def _bomb(bits: int) -> list[bytes]:
    """Ten gigabytes of zeros, packed: a megabyte again and again, each complete by itself."""
    packer = zlib.compressobj(9, wbits=bits)
    first = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    return [first, *[again * 100] * 100]
