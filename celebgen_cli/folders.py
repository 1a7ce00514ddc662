"""Folders that are written whole: what is there goes only once the new one has its name, and one process writes."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from celebgen_cli.errors import UsageError


def real_place(folder: Path) -> Path:
    """Where a folder is or will be: behind a link, so that the link stays one."""
    return Path(os.path.realpath(folder))


def swap_in(made: Path, place: Path) -> None:
    """Give the folder `made` the name `place`; one that is there is put aside first, and back if that fails.

    Raises:
        OSError: it cannot be done; `place` is as it was.
    """
    aside = _aside(place)
    if not place.exists():
        os.replace(made, place)
    else:
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(place, aside)
        try:
            os.replace(made, place)
        except OSError:
            os.replace(aside, place)
            raise
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def only_writer(place: Path) -> Iterator[None]:
    """Hold the lock of a folder's name, and mend what a kill in `swap_in` left.

    Raises:
        UsageError: another process has it, or this one works in the folder.
        OSError: the folder around it cannot be written.
    """
    from filelock import FileLock, Timeout

    _refuse_here(place)
    lock = place.parent / f".{place.name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            try:
                mend(place)
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout as error:
        raise UsageError(f"another process is writing {place}; wait for it, or choose another place") from error


def _refuse_here(place: Path) -> None:
    """Refuse to replace a folder that this process, and the shell behind it, stands in: both would be left in nothing.

    Raises:
        UsageError: it is the current folder, or the current one lies in it.
    """
    with contextlib.suppress(OSError):
        if place.is_dir() and real_place(Path.cwd()).is_relative_to(real_place(place)):
            raise UsageError(f"{place} would be replaced by a new folder while you are in it; name a folder within it")


def mend(place: Path) -> None:
    """Where a kill came between the two renames of `swap_in`, the folder that was there gets its name again."""
    if not place.exists() and _aside(place).is_dir():
        os.replace(_aside(place), place)


def mend_unless_written(place: Path) -> None:
    """`mend` for one who reads: not while another process writes, and no failure where it cannot be done."""
    if place.exists() or not _aside(place).is_dir():
        return
    with contextlib.suppress(OSError, UsageError), only_writer(place):
        pass


def _aside(place: Path) -> Path:
    return place.parent / f".{place.name}.old"
