"""The file of figures: appended, cut where a run goes on, and whole whatever was killed."""

import json
import os
from pathlib import Path

import pytest

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.metrics import Metrics


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_added_and_cut(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.cut(3)
    metrics.sync()
    assert not metrics.path.exists()
    for step in range(1, 6):
        metrics.add(step, {"loss": 1 / 3 / step})
    metrics.sync()
    assert lines(metrics.path)[0] == {"step": 1, "loss": 0.333333}
    metrics.cut(3)
    assert [line["step"] for line in lines(metrics.path)] == [1, 2, 3]
    before = metrics.path.stat().st_mtime_ns
    metrics.cut(3)
    assert metrics.path.stat().st_mtime_ns == before


@pytest.mark.parametrize("rest", [
    '{"step": 2, "lo', "{", '{"loss": 1}', '{"step": "x"}', "7", '{"step": 2}{"step": 3}', "\udcff",
])  # fmt: skip
def test_what_a_kill_cut_off_is_dropped(tmp_path: Path, rest: str) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.add(1, {"loss": 2.0})
    with metrics.path.open("ab") as file:
        file.write(rest.encode("utf-8", "surrogateescape"))
    metrics.cut(9)
    metrics.add(2, {"loss": 1.0})
    assert [line["step"] for line in lines(metrics.path)] == [1, 2]


def test_a_last_line_without_an_end_costs_no_other(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.add(1, {"loss": 2.0})
    os.truncate(metrics.path, metrics.path.stat().st_size - 1)
    metrics.cut(9)
    metrics.add(2, {"loss": 1.0})
    assert [line["step"] for line in lines(metrics.path)] == [1, 2]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match=r"cannot write .*metrics\.jsonl .*same command again") as caught:
        Metrics(tmp_path / "none" / "metrics.jsonl").add(1, {})
    assert "\n" not in str(caught.value)
