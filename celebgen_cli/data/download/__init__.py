"""Get CelebA's files into a folder: from Kaggle, Hugging Face, Google Drive, an address, or a local file.

Nothing is trusted: a web page in place of an archive is recognised, a connection that was cut is gone on with, and an
archive is looked through whole before its first file is written. A process killed at any moment and started again
leaves the same files as an undisturbed one.
"""

from __future__ import annotations

import difflib
import re
import urllib.parse
import urllib.request
from pathlib import Path

from celebgen_cli.data.download import huggingface, kaggle
from celebgen_cli.data.download.drive import from_drive
from celebgen_cli.data.download.fetch import Patience, fetch
from celebgen_cli.data.download.folder import check_room, claimed, settle, stage
from celebgen_cli.data.download.official import TERMS, WHERE, Progress, Say, check_md5, note_other_digest
from celebgen_cli.data.download.pages import check_address
from celebgen_cli.data.download.placing import next_command, place, retire
from celebgen_cli.data.download.unpack import looks_like_archive, unpack
from celebgen_cli.data.sources import looks_like_html
from celebgen_cli.errors import CelebgenError, UsageError

NAMED_SOURCES = ("kaggle", "huggingface", "google-drive")
"""Places that are known by name, in the order in which `auto` tries them."""

BLOCK = 2**20

__all__ = ["NAMED_SOURCES", "TERMS", "Patience", "check_source", "download", "next_command", "unpack"]


def download(
    source: str,
    out: Path,
    *,
    md5: str | None = None,
    progress: Progress | None = None,
    say: Say = lambda sentence: None,
    patience: Patience | None = None,
) -> list[Path]:
    """Copy or fetch `source` into the folder `out`; a zip archive is unpacked there, anything else kept as it is.

    A local archive is left where it is; one that was fetched is removed once it is unpacked. Files appear in `out`
    only when they are whole, and those that are there already are kept. One process fills a folder at a time.

    Args:
        source: `auto`, `kaggle`, `huggingface` (these two also with `:OWNER/NAME`), `google-drive`, a file's path, or
            an http, https or file URL.
        out: the folder, made where it does not exist.
        md5: the MD5 that the file must have, in hexadecimal; for files and addresses.
        progress: called while bytes are fetched, copied or unpacked.
        say: told what is tried, waited for and kept.
        patience: how long servers are waited for.

    Returns:
        The folder `out` for an archive or a named source, else the file written.

    Raises:
        UsageError: a source that cannot be one.
        CelebgenError: unreachable, cut off, a web page, another MD5, an unsafe or damaged archive, no room, another
            download into `out`, a package that is not installed.
    """
    out = Path(out)
    check_source(source, md5)
    patience = patience or Patience()
    with claimed(out):
        if source == "auto":
            _from_first(out, progress, say, patience)
            return [out]
        if _name_of(source) in NAMED_SOURCES:
            _from_named(source, out, progress, say, patience)
            return [out]
        scheme = _scheme(source)
        if scheme in ("http", "https"):
            part = fetch(source, out, md5=md5, progress=progress, say=say, patience=patience)
            if md5 is None:
                note_other_digest(part.name, part.path, say)
            return [place(part, out, source, progress, say)]
        return [_from_file(_local(source), out, md5, progress, say)]


def check_source(source: str, md5: str | None = None) -> None:
    """Refuse at once what cannot be a source, before anybody is asked and anything is made.

    Raises:
        UsageError: no known name, no address, no file, a file of another machine, or no MD5.
    """
    if md5 is not None and not re.fullmatch(r"[0-9a-fA-F]{32}", md5):
        raise UsageError(f"{md5!r} is not an MD5; it has 32 hexadecimal digits")
    name = _name_of(source)
    if name == "auto" or name in NAMED_SOURCES:
        if md5 is not None:
            raise UsageError(f"--md5 is for one file or address; {name} checks its files by itself")
        return
    scheme = _scheme(source)
    if scheme in ("http", "https"):
        check_address(source)
        return
    if scheme not in ("", "file"):
        raise UsageError(f"{source} is not an http, https or file address; {WHERE}")
    if scheme == "file" and source.split("/", 3)[2].lower() not in ("", "localhost"):
        raise UsageError(f"{source} lies on another machine; only files of this one are read, as file:///PATH")
    path = _local(source)
    if path.is_dir():
        raise UsageError(f"{path} is a folder, so there is nothing to fetch; give it to `celebgen prepare`")
    if not path.is_file():
        raise UsageError(f"the source {path} does not exist; {_nearest(source) or WHERE}")


def _name_of(source: str) -> str:
    """The name of a named source (`kaggle` of `kaggle:owner/name`), else the source as it is."""
    match = re.fullmatch(r"(kaggle|huggingface):[\w.-]+/[\w.-]+", source)
    return match[1] if match else source


def _nearest(source: str) -> str | None:
    """What to write where a source looks like a name that is known; None where it looks like a file."""
    name = source.partition(":")[0].lower()
    near = difflib.get_close_matches(name, ("auto", *NAMED_SOURCES), 1) if re.fullmatch(r"[\w-]+", name) else []
    if not near:
        return None
    copies = {"kaggle": kaggle.HANDLE, "huggingface": huggingface.MIRROR}
    if ":" in source and near[0] in copies:
        return f"the nearest name is {near[0]}:OWNER/NAME, as {near[0]}:{copies[near[0]]}"
    return f"the nearest name is {near[0]}"


def _scheme(source: str) -> str:
    match = re.match(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*)://", source)
    return match[1].lower() if match else ""


def _local(source: str) -> Path:
    if _scheme(source) == "file":
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(source).path))
    return Path(source)


def _from_named(source: str, out: Path, progress: Progress | None, say: Say, patience: Patience) -> None:
    name, _, given = source.partition(":")
    if name == "kaggle":
        kaggle.from_kaggle(given or kaggle.HANDLE, out, progress, say)
    elif name == "huggingface":
        huggingface.from_huggingface(given or huggingface.MIRROR, out, progress, say)
    else:
        from_drive(out, progress, say, patience)


def _from_first(out: Path, progress: Progress | None, say: Say, patience: Patience) -> None:
    """Try the named sources in their order; what the earlier ones left half-done goes once one succeeds."""
    for name in NAMED_SOURCES:
        say(f"trying {name}")
        try:
            _from_named(name, out, progress, say, patience)
        except CelebgenError as error:
            say(f"{name}: {error}")
            continue
        for work in (kaggle.WORK, huggingface.WORK):
            retire(out / work)
        return
    raise CelebgenError(f"no source gave CelebA, see above ({'; '.join(NAMED_SOURCES)}); {WHERE}")


def _from_file(path: Path, out: Path, md5: str | None, progress: Progress | None, say: Say) -> Path:
    try:
        with path.open("rb") as file:
            if looks_like_html(file.read(512)):
                raise CelebgenError(f"{path} is a web page, not a file of CelebA: its download failed; get it again")
        if md5 is not None:
            check_md5(str(path), path, md5)
        else:
            note_other_digest(path.name, path, say)
        if looks_like_archive(path, path.name):
            unpack(path, out, progress=progress, say=say)
            return out
        target = out / path.name
        if target.exists() and target.samefile(path):
            return target
        size = path.stat().st_size
        check_room(out, size)
        with stage(out) as inside:
            copy, done = inside / path.name, 0
            with path.open("rb") as file, copy.open("wb") as to:
                while block := file.read(BLOCK):
                    to.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, size)
            return settle(copy, target, str(path))
    except OSError as error:
        raise CelebgenError(f"cannot copy {path} to {out}: {error.strerror or error}") from error
