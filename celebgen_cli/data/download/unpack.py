"""Zip archives, unpacked safely: an archive is looked through whole before its first file is written."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from celebgen_cli.data.download.folder import check_room, stage
from celebgen_cli.data.download.official import Progress, Say
from celebgen_cli.data.sources import DAMAGED, open_archive
from celebgen_cli.errors import CelebgenError, UsageError

MAX_UNPACKED = 64 * 2**30
MAX_FILES = 2_000_000
MAX_RATIO = 100  # text in CelebA's archives shrinks about 15-fold, a bomb of zeros 1000-fold
SLACK = 64 * 2**20  # small archives may have any ratio up to this size
BLOCK = 2**20


class BadArchive(CelebgenError):
    """The archive itself cannot be used, so that getting the same one again does not help."""


Member = tuple[zipfile.ZipInfo, tuple[str, ...]]
"""A file in an archive with the parts of its path."""


def unpack(
    archive: Path, out: Path, *, progress: Progress | None = None, say: Say | None = None, name: str | None = None
) -> int:
    """Unpack a zip archive into the folder `out`, after looking at all that it would write.

    The files go to a temporary folder within `out` first and are moved to their places when all of them are whole. A
    file that is there already is kept; where it has other bytes than the archive's, `say` is told.

    Args:
        archive: the zip file.
        out: the folder, made where it does not exist.
        progress: called with bytes unpacked and bytes in all.
        say: told of the files that were kept though they differ.
        name: what errors call the archive, its path if None.

    Returns:
        The number of files in the archive.

    Raises:
        UsageError: no zip archive at all.
        BadArchive: an absolute path, `..`, a control character, a name twice or as a file and a folder, a link or
            another special file, an encrypted member, far more bytes than an archive of this size may hold, or damage.
            Nothing is written then.
        CelebgenError: no room, a file where a folder is needed, or the folder cannot be written.
    """
    called = name or str(archive)
    with _open(archive, called) as zipped:
        members = check_members(zipped, called, archive.stat().st_size)
        for folder in sorted(out.joinpath(*parts) for parts in _folders(members)):
            if os.path.lexists(folder) and not folder.is_dir():
                raise CelebgenError(f"{folder} is there already and is no folder; delete it or choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        total = sum(info.file_size for info, _ in members)
        missing = [member for member in members if not os.path.lexists(out.joinpath(*member[1]))]
        check_room(out, sum(info.file_size for info, _ in missing))
        done = 0

        def count(size: int) -> None:
            nonlocal done
            done += size
            if progress is not None:
                progress(done, total)

        try:
            present = set(parts for _, parts in members) - set(parts for _, parts in missing)
            differing = [
                parts for info, parts in members if parts in present and not _is_there(out, info, parts, count)
            ]
            with stage(out) as place:
                for info, parts in missing:
                    _write(zipped, info, place.joinpath(*parts), called, count)
                for _, parts in missing:
                    target = out.joinpath(*parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(place.joinpath(*parts), target)
        except DAMAGED as error:
            raise BadArchive(f"{called} is damaged ({error}); nothing was unpacked, get it again") from error
    if differing and say is not None:
        say(
            f"note: {len(differing)} of {len(members)} files were there already with other content and were kept "
            f"({out.joinpath(*differing[0])} first); delete them and run the command again to get the archive's"
        )
    return len(members)


def looks_like_archive(path: Path, name: str) -> bool:
    """Whether a file called `name` is a zip archive, or is meant to be one."""
    return name.lower().endswith(".zip") or zipfile.is_zipfile(path)


def _open(archive: Path, called: str) -> zipfile.ZipFile:
    try:
        return open_archive(archive, called)
    except UsageError:
        raise
    except CelebgenError as error:
        raise BadArchive(str(error)) from error


def check_members(zipped: zipfile.ZipFile, called: str, packed_size: int) -> list[Member]:
    """The files of an archive with the parts of their paths; refuses the whole archive if one of them is unsafe.

    Args:
        zipped: the open archive.
        called: what errors call it.
        packed_size: bytes of the archive.

    Raises:
        BadArchive: see `unpack`.
    """
    members: list[Member] = []
    seen: set[tuple[str, ...]] = set()
    total = 0
    for info in zipped.infolist():
        path = info.filename.replace("\\", "/")
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        shown = ascii(info.filename[:80])
        if any(ord(min(part)) < 32 for part in parts):
            raise BadArchive(f"{called} has a file with a control character in its name ({shown}); not unpacked")
        if path.startswith("/") or ".." in parts or any(":" in part for part in parts):
            raise BadArchive(f"{called} has a file that would lie outside of the folder ({shown}); not unpacked")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadArchive(f"{called} has a link or special file ({shown}); it is not unpacked")
        if info.is_dir() or not parts or parts[0] == "__MACOSX":
            continue
        if info.flag_bits & 1:
            raise BadArchive(f"{called} is encrypted ({shown}); unpack it with its password first")
        if parts in seen:
            raise BadArchive(f"{called} has the file {shown} twice; it is not unpacked")
        seen.add(parts)
        total += info.file_size
        members.append((info, parts))
    if both := seen & _folders(members):
        shown = ascii("/".join(min(both))[:80])
        raise BadArchive(f"{called} has {shown} both as a file and as a folder; it is not unpacked")
    if not members:
        raise BadArchive(f"the archive {called} is empty")
    if total > min(MAX_UNPACKED, packed_size * MAX_RATIO + SLACK) or len(members) > MAX_FILES:
        raise BadArchive(
            f"{called} has {packed_size} bytes and would unpack to {total} in {len(members)} files, which no archive "
            "of CelebA does; it is not unpacked"
        )
    return members


def _folders(members: list[Member]) -> set[tuple[str, ...]]:
    return {parts[:depth] for _, parts in members for depth in range(1, len(parts))}


def _write(
    zipped: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, called: str, count: Callable[[int], None]
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = info.file_size
    with zipped.open(info) as packed, target.open("xb") as file:
        while block := _block(packed):
            left -= len(block)
            if left < 0:
                raise BadArchive(f"{called} holds more than it declares; nothing was unpacked")
            file.write(block)
            count(len(block))


def _block(packed: IO[bytes]) -> bytes:
    try:
        return packed.read(BLOCK)
    except OSError as error:  # so bz2 says that it is damaged, and the disk is not to be blamed
        raise zipfile.BadZipFile(str(error)) from error


def _is_there(out: Path, info: zipfile.ZipInfo, parts: tuple[str, ...], count: Callable[[int], None]) -> bool:
    """Whether a file that exists has the size and the CRC-32 of the archive's."""
    target = out.joinpath(*parts)
    count(info.file_size)
    if not target.is_file() or target.stat().st_size != info.file_size:
        return False
    crc = 0
    with target.open("rb") as file:
        while block := file.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc == info.CRC
