"""The guard that keeps tests off the network works, here and in child processes."""

import socket
import subprocess
import sys

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "example.invalid", "2001:db8::1"])
def test_the_network_is_refused(host: str) -> None:
    with pytest.raises(OSError, match=r"do not use the network"):
        socket.create_connection((host, 80), timeout=1)


def test_a_datagram_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        pytest.raises(OSError, match=r"do not use the network"),
    ):
        out.sendto(b"x", ("192.0.2.1", 9))


def test_loopback_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass


def test_child_processes_are_kept_off_too() -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "do not use the network" in done.stderr
