"""A folder that is replaced is there at every moment, or is found again."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from celebgen_cli.errors import UsageError
from celebgen_cli.folders import mend_unless_written, only_writer, real_place, swap_in


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "a").write_text(text)
    return path


def test_the_new_one_takes_the_name(tmp_path: Path) -> None:
    swap_in(folder(tmp_path / "new", "new"), tmp_path / "place")
    assert (tmp_path / "place" / "a").read_text() == "new"
    swap_in(folder(tmp_path / "newer", "newer"), tmp_path / "place")
    assert (tmp_path / "place" / "a").read_text() == "newer" and os.listdir(tmp_path) == ["place"]


def test_a_failure_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = folder(tmp_path / "place", "old"), folder(tmp_path / "new", "new")
    real = os.replace

    def fails(source: Path, target: Path) -> None:
        if source == new:
            raise OSError(39, "Directory not empty")
        real(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="not empty"):
        swap_in(new, old)
    assert (old / "a").read_text() == "old" and (new / "a").read_text() == "new"


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for mended in (lambda: mend_unless_written(place), lambda: only_writer(place).__enter__()):
        folder(tmp_path / ".place.old", "old")
        mended()
        assert (place / "a").read_text() == "old" and not (tmp_path / ".place.old").exists()
        (place / "a").unlink()
        place.rmdir()


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with FileLock(tmp_path / ".place.lock"):
        with pytest.raises(UsageError, match="another process is writing .*place; wait"), only_writer(place):
            pass
        folder(tmp_path / ".place.old", "old")
        mend_unless_written(place)  # it may be between the two renames
        assert not place.exists()


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder(tmp_path / "real", "old"))
    swap_in(folder(tmp_path / "new", "new"), real_place(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a").read_text() == "new"
