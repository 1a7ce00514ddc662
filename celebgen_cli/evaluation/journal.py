"""What long measurements have found so far: one JSON line a figure, so that a killed run goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_write_bytes


class Journal:
    """Results in a file of JSON lines `{"key": ..., "of": {...}, "result": {...}}`; the last line of a key counts.

    Lines that are not whole (a kill cuts off the last one) are dropped, from the file too.

    Raises:
        CelebgenError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._results: dict[str, dict[str, Any]] = {}
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise CelebgenError(f"cannot read {path} ({error.strerror}); choose another output") from error
        whole = b""
        for line in data.splitlines(keepends=True):
            if (entry := _entry(line)) is not None:
                whole += line
                self._results[entry["key"]] = entry["result"]
        if whole != data:
            atomic_write_bytes(path, whole)

    def __len__(self) -> int:
        return len(self._results)

    def get(self, of: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result of what `of` describes (plain JSON values), or None where there is none yet."""
        return self._results.get(key_of(of))

    def add(self, of: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keep a result; it is on the disk when this returns.

        Raises:
            CelebgenError: it cannot be written.
        """
        line = json.dumps({"key": key_of(of), "of": of, "result": result}, ensure_ascii=False, allow_nan=False)
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                start = file.tell()
                try:
                    file.write(line.encode("utf-8") + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        os.truncate(self.path, start)
                    raise
        self._results[key_of(of)] = json.loads(line)["result"]


def key_of(of: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal over plain JSON values, whatever their order."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode("utf-8")).hexdigest()


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold `path` as a lock that only one process has.

    Raises:
        UsageError: another one has it.
        CelebgenError: it cannot be made.
    """
    from filelock import FileLock, Timeout

    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise UsageError(
                f"another process is measuring into {path.parent}; wait for it, or choose another output"
            ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            path.unlink()
        lock.release()


def _entry(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    good = isinstance(entry, dict) and isinstance(entry.get("key"), str) and isinstance(entry.get("result"), dict)
    return entry if good else None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CelebgenError(
            f"cannot write {path} ({error.strerror}); free some space or choose another place"
        ) from error
