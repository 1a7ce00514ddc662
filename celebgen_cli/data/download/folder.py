"""The folder that a download fills: one process at a time, no litter of dead ones, room on its disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from celebgen_cli.data.download.official import Progress
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import make_readable

try:
    import fcntl
except ImportError:  # Windows: no lock, but every file appears whole, so that two downloads end alike
    fcntl = None  # type: ignore[assignment]

STAGE = ".unpack-"
"""What the names of the temporary folders begin with."""


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Make the folder `out`, keep other downloads out of it, and clear away what a killed one left.

    The lock is on the folder itself, so it leaves no file and dies with the process. Folders that were made here are
    removed again if nothing was put into them.

    Raises:
        UsageError: `out` is a file.
        CelebgenError: another download fills the folder, or it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder with -o")
    made = [place for place in (out, *out.absolute().parents) if not place.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY) if fcntl is not None else None
    except OSError as error:
        raise CelebgenError(f"the folder {out} cannot be made ({error.strerror or error}); choose another") from error
    try:
        if handle is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CelebgenError(
                    f"another download fills {out} right now; wait until it ends, or choose another folder"
                ) from error
            except OSError:  # a file system without locks
                pass
            clear(out)
        yield
    finally:
        if handle is not None:
            os.close(handle)
        for place in made:
            with contextlib.suppress(OSError):  # not empty
                place.rmdir()


@contextlib.contextmanager
def stage(out: Path) -> Iterator[Path]:
    """A temporary folder within `out`, on the same disk, so that files move out of it by renaming; removed at the end.

    Raises:
        CelebgenError: the disk is full, or the folder cannot be written.
    """
    place: Path | None = None
    try:
        place = Path(tempfile.mkdtemp(prefix=STAGE, dir=out))
        yield place
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise CelebgenError(f"cannot write into {out}: {what}") from error
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


def clear(out: Path) -> None:
    """Remove what killed runs left and nobody can go on with: temporary folders, notes that were never whole."""
    for stale in out.glob(f"{STAGE}*"):
        shutil.rmtree(stale, ignore_errors=True)
    for note in out.glob(".*.part.json.*.tmp"):
        note.unlink(missing_ok=True)


@contextlib.contextmanager
def watched(
    work: Path, unpacked: str, progress: Progress | None, base: int = 0, total: int | None = None
) -> Iterator[None]:
    """Report how the files of a working folder grow while a library fills it that shows no bar of ours.

    Args:
        work: the folder.
        unpacked: name of the folders in it that are not looked into.
        progress: called twice a second with `base` and the bytes there; nothing is done if None.
        base: bytes done before.
        total: bytes in all.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            size = 0
            for folder, inner, names in os.walk(work):
                inner[:] = [name for name in inner if name != unpacked]
                for name in names:
                    with contextlib.suppress(OSError):
                        size += os.stat(os.path.join(folder, name)).st_size
            if progress is not None:
                progress(base + size, total)

    thread = threading.Thread(target=look, daemon=True)
    if progress is not None:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if progress is not None:
            thread.join()


def check_room(out: Path, needed: float) -> None:
    """Refuse to start what the disk of `out` has no room for; `needed` in bytes.

    Raises:
        CelebgenError: fewer bytes are free.
    """
    free = shutil.disk_usage(out).free
    if needed > free:
        mebi = 2**20
        raise CelebgenError(
            f"{out} needs {-(-int(needed) // mebi)} MiB and {free // mebi} MiB are free; make room there first"
        )


def same_content(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes."""
    import filecmp

    return filecmp.cmp(one, other, shallow=False)


def is_another(target: Path, called: str) -> str:
    """The sentence for a place that another file has."""
    return f"{target} is there already and is not what {called} is; delete it or choose another folder"


def settle(whole: Path, target: Path, called: str) -> Path:
    """Move a whole file to its place; a file that is there already is kept.

    Returns:
        `target`.

    Raises:
        CelebgenError: the file that is there already has other bytes; `whole` is removed then.
    """
    if target.exists():
        same = target.is_file() and same_content(whole, target)
        whole.unlink()
        if not same:
            raise CelebgenError(is_another(target, called))
        return target
    with whole.open("rb+") as file:
        os.fsync(file.fileno())
    make_readable(whole)
    os.replace(whole, target)
    return target
