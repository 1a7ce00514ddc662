"""The folder in which something large is made: it takes its final name when whole, and a killed run finds it again.

Beside NAME there are, while work goes on, `.NAME.partial/` with what is done and `.NAME.lock`, which only one process
holds. A later run with the same key goes on from there; one with another key begins anew.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_write_json, read_json
from celebgen_cli.folders import only_writer, real_place, swap_in

KEY = "key.json"
JOURNAL = "done.jsonl"


class Journal:
    """Lines of JSON that say what is done, each whole or ignored; later lines are appended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, object]]:
        """The whole lines; one that a kill cut off or a loss of power damaged is dropped, and all behind it."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        values, length = [], 0
        for line in data.splitlines(keepends=True):
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not line.endswith(b"\n") or not isinstance(value, dict):
                os.truncate(self.path, length)
                break
            values.append(value)
            length += len(line)
        return values

    def add(self, value: dict[str, object]) -> None:
        """Append one line."""
        with self.path.open("ab") as file:
            file.write(json.dumps(value).encode("utf-8") + b"\n")


def check_outside(out: Path, paths: Iterable[Path]) -> None:
    """Refuse to read from within a folder that is to be replaced as a whole.

    Raises:
        UsageError: one of the paths is `out` or lies in it.
    """
    place = real_place(out)
    for path in paths:
        if real_place(path).is_relative_to(place):
            where = "is" if real_place(path) == place else "lies in"
            raise UsageError(
                f"{path} {where} the folder {out} that would be replaced, and would be gone; choose another place"
            )


@contextlib.contextmanager
def workplace(
    out: Path, key: str, needed: int, keep: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """Yield the folder `.NAME.partial` beside `out`, which takes the place of `out` when the block ends well.

    What a killed or interrupted run with the same key left there is kept. After Ctrl-C the folder stays; after an error
    it is removed, unless `keep` says of it that the same call can go on from there.

    Args:
        out: the folder to make; a folder there is replaced at the end.
        key: what the content depends on.
        needed: bytes that the content will take.

    Raises:
        UsageError: another process is making `out`.
        CelebgenError: too little room, or `out` cannot be written.
    """
    out = real_place(out)
    folder = out.parent / f".{out.name}.partial"
    try:
        with only_writer(out):
            try:
                if not _same(folder, key):
                    shutil.rmtree(folder, ignore_errors=True)
                _check_room(out, needed - _size(folder))
                folder.mkdir(exist_ok=True)
                atomic_write_json(folder / KEY, {"key": key})
                yield folder
                (folder / KEY).unlink()
                (folder / JOURNAL).unlink(missing_ok=True)
                swap_in(folder, out)
            except KeyboardInterrupt:
                raise
            except BaseException:
                if not keep(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                raise
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        left = "nothing was left there" if not keep(folder) else "the same command goes on from what is done"
        raise CelebgenError(f"cannot write {out}: {what}; {left}") from error


def _same(folder: Path, key: str) -> bool:
    try:
        return folder.is_dir() and read_json(folder / KEY) == {"key": key}
    except CelebgenError:
        return False


def _size(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    stats = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(min(stat.st_size, 512 * getattr(stat, "st_blocks", 2**53)) for stat in stats)  # files may have holes


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if free < needed * 1.02 + 2**20:
        raise CelebgenError(
            f"{out} needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free there; make room or choose "
            "another place"
        )
