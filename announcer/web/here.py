"""Whether a request is of a browser on this machine, which needs no password where none is set."""

from ipaddress import ip_address

from flask import request

PASSED_ON = ("forwarded", "via", "x-", "cf-", "true-client-ip")
"""So begin the headers that proxies add, and none that a browser sends by itself."""
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105  # a name, as above
"""From a script of our pages, and so no sign of a proxy."""


def on_this_machine() -> bool:
    """A forwarded request is never local, and neither is one for another name (DNS rebinding), or
    of a program: what a proxy passes on for it looks the same.
    """
    names = {name.lower() for name, _ in request.headers} - {TOKEN_HEADER.lower()}
    if any(name.startswith(PASSED_ON) for name in names):
        return False
    # nginx adds nothing unless told to, and asks for our own address: but no browser is so old, and
    # since 1.29.7 nginx says nothing of the connection, as every browser does.
    if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return False
    if request.headers.get("Connection", "").lower() != "keep-alive":
        return False
    host = request.host.rpartition(":")[0] if request.host[-1:] != "]" else request.host
    if (host or request.host).strip("[]") not in ("localhost", "127.0.0.1", "::1"):
        return False
    try:
        return ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
