"""Files that are whole or absent: everything is written under a temporary name, flushed and renamed."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError, UsageError

MARK = "celebgen-jobs:"
"""Begins the mark that sheets of `celebgen sample` carry."""



class TakenError(UsageError):
    """Another process wrote a file of this name in the meantime."""


@contextlib.contextmanager
def atomic_path(path: Path, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block ends well and is removed otherwise.

    `new`: only where nothing has that name yet.

    Raises:
        CelebgenError: the folder cannot be written or the disk is full.
        TakenError: with `new`, something has the name now.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise CelebgenError(
            f"cannot write {path} ({error.strerror}); choose another place or free some space"
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        make_readable(temporary)
        (_rename_to_new if new else os.replace)(temporary, path)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise TakenError(f"{path} exists by now; add --force to overwrite it, or choose another name") from error
    except OSError as error:
        raise CelebgenError(f"cannot write {path}: {error.strerror}; nothing was changed there") from error
    finally:
        temporary.unlink(missing_ok=True)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give a file another name, unless a file has it: of two processes that do so at once, one fails.

    Raises:
        FileExistsError: it is taken.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        if os.path.exists(path):
            raise
        os.replace(temporary, path)  # a link that leads nowhere
    except OSError as error:  # some file systems have no second names
        if os.path.lexists(path):
            raise FileExistsError(path) from error
        os.replace(temporary, path)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, so that a renamed file has its name after a loss of power, too."""
    with contextlib.suppress(OSError):  # not every system opens folders, and some file systems do not flush them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_readable(path: Path) -> None:
    """Give a file the permissions that the user's umask allows; temporary files start as their owner's alone."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def atomic_write_bytes(path: Path, data: bytes, new: bool = False) -> None:
    """Write `data` to `path`, whole or not at all; `new` and errors as for `atomic_path`."""
    with atomic_path(path, new) as temporary:
        temporary.write_bytes(data)


def atomic_write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))  # a file name that is no UTF-8 becomes \\udcXX


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CelebgenError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CelebgenError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise CelebgenError(f"{path} cannot be read as JSON: {error}") from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
