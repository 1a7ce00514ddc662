"""SHA-256 of array files while workers still fill them, so that nothing is left to read when the last row is there.

A digest goes through a file from front to back, and runs of rows become ready in any order: what is ready is hashed, in
a thread of its own, as far as it has no gap.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

FLUSH = 256 * 2**20  # bytes between two flushes, so that the disk too is busy from early on


class Digests:
    """Digests of files that are cut into consecutive parts.

    Args:
        parts: (file, end) of each part, the parts of a file one after the other: bytes from the end of the part before
            it, or from 0, to `end`.
    """

    def __init__(self, parts: Sequence[tuple[Path, int]]) -> None:
        self._parts = list(parts)
        self._ready = [False] * len(self._parts)
        self._next = 0
        self._digests: dict[Path, Any] = {}
        self._at: dict[Path, int] = {}
        self._flushed = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="digests")
        self._running: list[Future[None]] = []

    def ready(self, part: int) -> None:
        """A part is in its file and does not change any more."""
        self._ready[part] = True
        first = self._next
        while self._next < len(self._parts) and self._ready[self._next]:
            self._next += 1
        self._running = [running for running in self._running if not running.done() or running.exception()]
        self._running += [self._pool.submit(self._add, *self._parts[part]) for part in range(first, self._next)]

    def finish(self) -> dict[Path, str]:
        """Wait; the digest, in hexadecimal, of each file all of whose parts were ready. The files are on the disk.

        Raises:
            OSError: a file cannot be read, or flushed to the disk.
        """
        self._pool.shutdown()
        for running in self._running:
            running.result()
        for path in self._digests:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        left = {path for path, _ in self._parts[self._next :]}
        return {path: digest.hexdigest() for path, digest in self._digests.items() if path not in left}

    def abandon(self) -> None:
        """Stop without a result; what is being hashed is finished first."""
        self._pool.shutdown(cancel_futures=True)

    def _add(self, path: Path, end: int) -> None:
        digest = self._digests.setdefault(path, hashlib.sha256())
        with path.open("rb+", buffering=0) as file:
            file.seek(self._at.get(path, 0))
            data = file.read(end - file.tell())
            digest.update(data)
            self._at[path] = end
            self._flushed += len(data)
            if self._flushed >= FLUSH:
                os.fsync(file.fileno())
                self._flushed = 0
