"""A web server on this machine that behaves as badly as a test wants it to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class File:
    """What lies at one path. `first` holds what the first requests get instead: a status, headers and a body each."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)  # ETag and Last-Modified count for If-Range
    status: int = 200
    ranges: bool = True  # whether Range is obeyed
    first: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)  # bytes of the body after which each of the first answers ends
    stalls: list[int] = field(default_factory=list)  # or nothing more is sent
    block: int = 2**16
    pause: float = 0.0  # seconds between blocks


class Server:
    """`files` by path; `requests` lists the path and the Range of each request."""

    def __init__(self, httpd: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{httpd.server_port}"
        self.files: dict[str, File] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    served: Server

    def do_GET(self) -> None:
        served = self.served
        served.requests.append((self.path, self.headers.get("Range")))
        file = served.files.get(self.path) or served.files.get(self.path.partition("?")[0])
        if file is None:
            return self._send(404, {}, [b"gone"], 4)
        if file.first:
            status, headers, body = file.first.pop(0)
            return self._send(status, headers, [body], len(body))
        start, status, headers = 0, file.status, dict(file.headers)
        given = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        condition = self.headers.get("If-Range")
        if given and file.ranges and condition in (None, headers.get("ETag"), headers.get("Last-Modified")):
            start = int(given[1])
            if start >= len(file.body):
                return self._send(416, {"Content-Range": f"bytes */{len(file.body)}"}, [], 0)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(file.body) - 1}/{len(file.body)}"
        body = file.body[start:]
        end = file.cuts.pop(0) if file.cuts else len(body)
        stall = file.stalls.pop(0) if file.stalls else None
        end = end if stall is None else stall
        blocks = (body[at : min(end, at + file.block)] for at in range(0, min(end, len(body)), file.block))
        self._send(status, headers, self._slowly(blocks, file.pause), len(body))
        if stall is not None:
            served.closing.wait(10)

    def _slowly(self, blocks: Iterator[bytes], pause: float) -> Iterator[bytes]:
        for block in blocks:
            yield block
            time.sleep(pause)

    def _send(self, status: int, headers: dict[str, str], blocks: Any, length: int) -> None:
        try:
            self.send_response(status)
            for name, value in ({"Content-Length": str(length)} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            for block in blocks:
                self.wfile.write(block)
        except OSError:  # the client has been killed or has seen enough
            pass

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Server]:
    """A server for the length of the block."""
    handler = type("Handler", (_Handler,), {})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    handler.served = server = Server(httpd)  # type: ignore[attr-defined]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()
