"""Refuses every connection that leaves this machine, in the tests' own process and in those that they start.

`tests/conftest.py` imports this file and puts its folder on PYTHONPATH, so that Python runs it at the start of every
child process too (the module name `sitecustomize` is Python's own hook).
"""

import ipaddress
import socket
from typing import Any


class OutsideRefused(OSError):
    """A test wanted to reach another machine."""


def _check(host: Any) -> None:
    if host in (None, "", b"", "localhost", b"localhost"):
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    raise OutsideRefused(f"tests do not use the network, but this one wanted {name!r}")


def refuse_outside() -> None:
    """Patch `socket` once: only loopback addresses and local (Unix) sockets are left."""
    if getattr(socket, "_only_loopback", False):
        return
    inside = tuple(getattr(socket, name) for name in ("AF_INET", "AF_INET6") if hasattr(socket, name))

    def guarded(method: Any, place: int) -> Any:
        def call(self: socket.socket, *args: Any) -> Any:
            if self.family in inside and isinstance(args[place], tuple):
                _check(args[place][0])
            return method(self, *args)

        return call

    for name, place in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
        setattr(socket.socket, name, guarded(getattr(socket.socket, name), place))
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        _check(host)
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo
    socket._only_loopback = True  # type: ignore[attr-defined]


refuse_outside()
