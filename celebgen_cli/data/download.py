"""Get CelebA's files into a folder: from a local archive or file, or from a URL; archives are unpacked safely.

Nothing is trusted: a web page in place of an archive is recognised, a connection that was cut is noticed, and an
archive is looked through whole before its first file is written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from celebgen_cli.data.sources import looks_like_html, open_archive
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_path

TERMS = (
    "CelebA is for non-commercial research and education only; its images are not the property of the authors of the "
    "dataset, may not be sold or published, and models trained on them fall under the same terms. "
    "See https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html."
)
"""CelebA's terms in short, shown before every download."""

WHERE = (
    "get CelebA from Kaggle (jessicali9530/celeba-dataset) or from the official page "
    "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html), then give the file or its address with --source FILE|URL"
)

NAMED_SOURCES = ("auto", "kaggle", "huggingface", "google-drive")
MAX_UNPACKED = 64 * 2**30
MAX_RATIO = 100  # text in CelebA's archives shrinks about 15-fold, a bomb of zeros 1000-fold
SLACK = 64 * 2**20  # small archives may have any ratio up to this size
BLOCK = 2**20
TIMEOUT = 60.0

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all, None where the server does not say."""


def download(
    source: str, out: Path, *, md5: str | None = None, progress: Progress | None = None, timeout: float = TIMEOUT
) -> list[Path]:
    """Copy or fetch `source` into the folder `out`; a zip archive is unpacked there, anything else kept as it is.

    A local archive is left where it is; one that was fetched is removed once it is unpacked. Files appear in `out`
    only when they are whole, and those that are there already are replaced.

    Args:
        source: a file's path, or an http, https or file URL.
        out: the folder, made where it does not exist.
        md5: the MD5 that the file must have, in hexadecimal.
        progress: called while bytes are fetched, copied or unpacked.
        timeout: seconds without an answer from the server after which it is given up.

    Returns:
        The folder `out` for an archive, else the file written.

    Raises:
        UsageError: a source that cannot be one.
        CelebgenError: unreachable, cut off, a web page, another MD5, an unsafe or damaged archive, no room.
    """
    out = Path(out)
    if source in NAMED_SOURCES:
        raise UsageError(f"--source {source} cannot fetch CelebA by itself yet: {WHERE}")
    if md5 is not None and (len(md5) != 32 or not all(letter in "0123456789abcdef" for letter in md5.lower())):
        raise UsageError(f"{md5!r} is not an MD5; it has 32 hexadecimal digits")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder with -o")
    scheme = urllib.parse.urlsplit(source).scheme.lower() if "://" in source else ""
    if scheme in ("http", "https"):
        return _from_url(source, out, md5, progress, timeout)
    if scheme == "file":
        source = urllib.request.url2pathname(urllib.parse.urlsplit(source).path)
    elif scheme:
        raise UsageError(f"{source} is not an http, https or file address; {WHERE}")
    return _from_file(Path(source), out, md5, progress)


def _from_file(path: Path, out: Path, md5: str | None, progress: Progress | None) -> list[Path]:
    if path.is_dir():
        raise UsageError(f"{path} is a folder, so there is nothing to fetch; give it to `celebgen prepare`")
    if not path.is_file():
        raise UsageError(f"the source {path} does not exist; {WHERE}")
    try:
        with path.open("rb") as file:
            if looks_like_html(file.read(512)):
                raise CelebgenError(f"{path} is a web page, not a file of CelebA: its download failed; get it again")
        if md5 is not None:
            with path.open("rb") as file:
                _check_md5(str(path), hashlib.file_digest(file, "md5").hexdigest(), md5)
        if zipfile.is_zipfile(path) or path.suffix.lower() == ".zip":
            unpack(path, out, progress=progress)
            return [out]
        target = out / path.name
        if target.exists() and target.samefile(path):
            return [target]
        size = path.stat().st_size
        _make_folder(out)
        _check_room(out, size)
        with path.open("rb") as file, atomic_path(target) as temporary, temporary.open("wb") as copy:
            for _ in _copy(file, copy, size, progress):
                pass
    except OSError as error:
        raise CelebgenError(f"cannot copy {path} to {out}: {error.strerror or error}") from error
    return [target]


def _from_url(url: str, out: Path, md5: str | None, progress: Progress | None, timeout: float) -> list[Path]:
    request = urllib.request.Request(url, headers={"User-Agent": "celebgen", "Accept-Encoding": "identity"})
    part: Path | None = None
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            name = _file_name(answer.headers.get_filename(), answer.geturl())
            length = answer.headers.get("Content-Length")
            size = int(length) if length is not None and length.isdigit() else None
            _make_folder(out)
            _check_room(out, size or 0)
            part = out / f"{name}.part"
            digest, received, head = hashlib.md5(usedforsecurity=False), 0, b""
            with part.open("wb") as file:
                for block in _copy(answer, file, size, progress):
                    if not head and looks_like_html(head := block[:512]):
                        raise CelebgenError(
                            f"{url} answers with a web page instead of a file (a quota notice or a login, often); "
                            f"open it in a browser, or {WHERE}"
                        )
                    digest.update(block)
                    received += len(block)
                file.flush()
                os.fsync(file.fileno())
        if received == 0 or (size is not None and received != size):
            expected = "something" if size is None else f"{size} bytes"
            raise CelebgenError(f"{url} sent {received} bytes and not {expected}: the connection was cut; try again")
        if md5 is not None:
            _check_md5(url, digest.hexdigest(), md5)
        if zipfile.is_zipfile(part) or name.lower().endswith(".zip"):
            unpack(part, out, progress=progress, name=url)
            return [out]
        os.replace(part, out / name)
        return [out / name]
    except urllib.error.HTTPError as error:
        raise CelebgenError(f"{url} answers {error.code} {error.reason}; check the address, or {WHERE}") from error
    except (TimeoutError, HTTPException) as error:
        what = f"no answer for {timeout:.0f} s" if isinstance(error, TimeoutError) else f"broken answer: {error!r}"
        raise CelebgenError(f"{url} cannot be fetched ({what}); try again") from error
    except urllib.error.URLError as error:
        raise CelebgenError(f"{url} cannot be reached ({error.reason}); check the address and the network") from error
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise CelebgenError(f"{url} cannot be fetched into {out}: {what}") from error
    except ValueError as error:
        raise UsageError(f"{url} is not an address that can be fetched: {error}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def unpack(archive: Path, out: Path, *, progress: Progress | None = None, name: str | None = None) -> int:
    """Unpack a zip archive into the folder `out`, after looking at all that it would write.

    The files go to a temporary folder within `out` first and are moved to their places when all of them are whole.

    Args:
        archive: the zip file.
        out: the folder, made where it does not exist.
        progress: called with bytes unpacked and bytes in all.
        name: what errors call the archive, its path if None.

    Returns:
        The number of files.

    Raises:
        CelebgenError: an absolute path, `..`, a link or another special file, an encrypted member, far more bytes
            than an archive of this size may hold, a damaged member, or no room. Nothing is written then.
    """
    called = name or str(archive)
    with open_archive(archive, called) as zipped:
        members = _check_members(zipped, called, archive.stat().st_size)
        total = sum(info.file_size for info, _ in members)
        _make_folder(out)
        _check_room(out, total)
        stage = Path(tempfile.mkdtemp(prefix=".unpack-", dir=out))
        try:
            done = 0
            for info, parts in members:
                target = stage.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(info) as packed, target.open("xb") as file:
                    for block in iter(lambda packed=packed: packed.read(BLOCK), b""):  # type: ignore[misc]
                        file.write(block)
                        done += len(block)
                        if done > total:
                            raise CelebgenError(f"{called} holds more than it declares; nothing was unpacked")
                if progress is not None:
                    progress(done, total)
            for _, parts in members:
                target = out.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(stage.joinpath(*parts), target)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise CelebgenError(f"{called} is damaged ({error}); nothing was unpacked, get it again") from error
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
            raise CelebgenError(f"cannot unpack {called} into {out}: {what}") from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return len(members)


def _check_members(
    zipped: zipfile.ZipFile, called: str, packed_size: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """The files of an archive with the parts of their paths; refuses the whole archive if one of them is unsafe."""
    members: list[tuple[zipfile.ZipInfo, tuple[str, ...]]] = []
    seen: set[tuple[str, ...]] = set()
    total = 0
    for info in zipped.infolist():
        path = info.filename.replace("\\", "/")
        parts = tuple(part for part in path.split("/") if part not in ("", "."))
        shown = ascii(info.filename[:80])
        if path.startswith("/") or ".." in parts or any(":" in part or ord(min(part)) < 32 for part in parts):
            raise CelebgenError(f"{called} has a file that would lie outside of the folder ({shown}); not unpacked")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise CelebgenError(f"{called} has a link or special file ({shown}); it is not unpacked")
        if info.is_dir() or not parts or parts[0] == "__MACOSX":
            continue
        if info.flag_bits & 1:
            raise CelebgenError(f"{called} is encrypted ({shown}); unpack it with its password first")
        if parts in seen:
            raise CelebgenError(f"{called} has the file {shown} twice; it is not unpacked")
        seen.add(parts)
        total += info.file_size
        members.append((info, parts))
    if not members:
        raise CelebgenError(f"the archive {called} is empty")
    if total > min(MAX_UNPACKED, packed_size * MAX_RATIO + SLACK):
        raise CelebgenError(
            f"{called} has {packed_size} bytes and would unpack to {total}, which no archive of CelebA does; it is not "
            "unpacked"
        )
    return members


def _copy(source: BinaryIO, target: BinaryIO, size: int | None, progress: Progress | None) -> Iterator[bytes]:
    """Copy block by block, yielding each block after it is written."""
    done = 0
    while block := source.read(BLOCK):
        target.write(block)
        done += len(block)
        yield block
        if progress is not None:
            progress(done, size)


def _check_md5(called: str, digest: str, md5: str) -> None:
    if digest != md5.lower():
        raise CelebgenError(f"{called} has the MD5 {digest} and not {md5.lower()}: the file is damaged or another one")


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise CelebgenError(f"{out} needs {needed >> 20} MiB and {free >> 20} MiB are free; make room there first")


def _make_folder(out: Path) -> None:
    with contextlib.suppress(FileExistsError):
        out.mkdir(parents=True)


def _file_name(given: str | None, url: str) -> str:
    """A plain file name from what the server says or from the address: no folder, nothing hidden, nothing odd."""
    name = given or urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in name if letter.isalnum() or letter in "._- ()").strip(". ")
    return name[:120] or "download"
