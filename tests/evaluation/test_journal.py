"""What was measured survives a kill: whole lines count, and nothing else."""

from pathlib import Path

import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.journal import Journal, alone


def test_results_are_found_again_whatever_the_order_of_the_description(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "cells.jsonl")
    assert journal.get({"a": 1}) is None
    journal.add({"a": 1, "b": [1.5, "x"]}, {"fid": 3.25})
    journal.add({"a": 2}, {"fid": 4.0})
    journal.add({"a": 2}, {"fid": 5.0})
    for read in (journal, Journal(tmp_path / "new" / "cells.jsonl")):
        assert read.get({"b": [1.5, "x"], "a": 1}) == {"fid": 3.25}
        assert read.get({"a": 2}) == {"fid": 5.0} and read.get({"a": 3}) is None and len(read) == 2


def test_every_cut_of_the_file_leaves_the_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    for i in range(3):
        Journal(path).add({"cell": i}, {"fid": float(i)})
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        journal = Journal(path)
        whole = sum(end <= cut for end in ends)
        assert [journal.get({"cell": i}) is not None for i in range(3)] == [i < whole for i in range(3)]
        assert path.read_bytes() == data[: ends[whole - 1] if whole else 0]
    journal.add({"cell": "more"}, {"fid": 9.0})
    assert Journal(path).get({"cell": "more"}) == {"fid": 9.0}


def test_lines_that_mean_nothing_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    Journal(path).add({"cell": 1}, {"fid": 1.0})
    good = path.read_bytes()
    path.write_bytes(b"\xff\xfe\n[1]\n{}\n" + good + b'{"key": 1, "result": {}}\n')
    assert Journal(path).get({"cell": 1}) == {"fid": 1.0}
    assert path.read_bytes() == good


def test_figures_are_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Journal(tmp_path / "cells.jsonl").add({"cell": 1}, {"fid": float("nan")})
    assert not (tmp_path / "cells.jsonl").exists()


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CelebgenError, match="cannot (read|write) .*cells.jsonl"):
        Journal(tmp_path / "file" / "cells.jsonl").add({}, {})
    with pytest.raises(CelebgenError, match="cannot read"):
        Journal(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".lock"
    with alone(lock), pytest.raises(UsageError, match="another process is measuring into .*out"), alone(lock):
        pass
    with alone(lock):
        pass
    assert list((tmp_path / "out").iterdir()) == []
