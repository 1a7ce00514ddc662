"""Digests that are made while files grow are those of the finished files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data import digests
from celebgen_cli.data.digests import Digests


def test_parts_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "FLUSH", 1000)
    rng = np.random.default_rng(0)
    parts, contents = [], {}
    for name in ("a", "b"):
        ends = np.sort(rng.integers(1, 5000, 9))
        contents[tmp_path / name] = rng.bytes(int(ends[-1]))
        (tmp_path / name).write_bytes(bytes(len(contents[tmp_path / name])))
        parts += [(tmp_path / name, int(end)) for end in ends]
    running = Digests(parts)
    begins = {}
    for number, (path, _) in enumerate(parts):
        begins[number] = parts[number - 1][1] if number and parts[number - 1][0] == path else 0
    for number in rng.permutation(len(parts)):
        path, end = parts[number]
        with path.open("rb+") as file:  # written just before it is said to be ready
            file.seek(begins[int(number)])
            file.write(contents[path][begins[int(number)] : end])
        running.ready(int(number))
    assert running.finish() == {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}


def test_a_file_with_a_part_missing_has_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"0123456789")
    running = Digests([(tmp_path / "a", 10), (tmp_path / "b", 4), (tmp_path / "b", 10)])
    running.ready(0)
    running.ready(2)
    assert running.finish() == {tmp_path / "a": hashlib.sha256(b"0123456789").hexdigest()}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    running = Digests([(tmp_path / "nowhere", 10)])
    running.ready(0)
    with pytest.raises(FileNotFoundError):
        running.finish()
    running.abandon()
