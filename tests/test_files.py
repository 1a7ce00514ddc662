"""Files are whole or absent."""

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from celebgen_cli import files
from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import (
    TakenError,
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    read_json,
    sha256_file,
)


def test_bytes_and_json_are_written_in_new_folders(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a" / "b" / "c.bin", b"content")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"content"
    value = {"größe": [1, 2.5, None], "text": "naïve 🙂"}
    atomic_write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert "größe" in (tmp_path / "value.json").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "value.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"half way"), atomic_path(path) as temporary:
        temporary.write_text("new, but not all of", encoding="utf-8")
        raise RuntimeError("half way")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_of_two_that_write_a_new_file_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def unsupported(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:  # as on some file systems
        monkeypatch.setattr(files.os, "link", unsupported)
    path = tmp_path / "face.png"
    with pytest.raises(TakenError, match=r"face\.png exists by now; add --force"), atomic_path(path, new=True) as late:
        atomic_write_bytes(path, b"first", new=True)
        late.write_bytes(b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
    atomic_write_bytes(path, b"third")
    assert path.read_bytes() == b"third"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    if links:
        atomic_write_bytes(path, b"fourth", new=True)
        assert path.read_bytes() == b"fourth" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CelebgenError, match=r"cannot write .*file\.txt: No space left on device; nothing was changed"):
        atomic_write_bytes(path, b"new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CelebgenError, match=r"cannot write"):
        atomic_write_bytes(tmp_path / "file" / "inside", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        atomic_write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_json_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match=r"none\.json does not exist"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"a": ', encoding="utf-8")
    with pytest.raises(CelebgenError, match=r"bad\.json cannot be read as JSON"):
        read_json(tmp_path / "bad.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CelebgenError, match=r"bytes\.json cannot be read as JSON"):
        read_json(tmp_path / "bytes.json")


def test_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()
