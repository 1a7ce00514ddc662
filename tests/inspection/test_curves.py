"""Curves of a run: read with care, and drawn in characters and pixels where their values are."""

import json
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.inspection.curves import PLAIN, by_channel, read_curves, resampled, shown, sparkline
from celebgen_cli.inspection.plot import _ticks, draw, running_mean
from celebgen_cli.inspection.report import Report, bytes_below, command, settings, size


def test_lines_that_are_not_whole_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        '{"step": 1, "loss": 2.0}', '{"step": 1e400}', '{"step": 2, "loss": "x", "kl": 1}', "[]", '{"loss": 3}',
        '{"step": 3, "lo',
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    assert read_curves(path) == {"loss": [(1, 2.0)], "kl": [(2, 1.0)]}
    assert read_curves(tmp_path / "none") == {}


def test_which_curves_are_worth_a_line() -> None:
    names = ("loss", "kl_c0", "kl_c1", "score", "memory", "images_per_second", "fid", "fid_images")
    curves = {name: [(1, 0.5), (2, float(i))] for i, name in enumerate(names)}
    assert list(shown(curves)) == ["loss", "fid"]
    assert by_channel(curves, "kl") == [1.0, 2.0]


def test_a_sparkline_rises_where_the_curve_does() -> None:
    assert sparkline([(i, float(i)) for i in range(8)], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([(i, -float(i)) for i in range(8)], 8, PLAIN) == PLAIN[::-1]
    assert sparkline([(i, 10.0**i) for i in range(8)], 8) == "▁▂▃▄▅▆▇█"  # logarithmic
    assert sparkline([(1, 3.0), (2, 3.0)]) == "▅▅"
    assert sparkline([(1, 3.0), (2, float("nan")), (3, float("inf"))]) == "▅"
    assert sparkline([]) == ""


def test_long_curves_are_means_of_stretches() -> None:
    curve = [(i, float(i // 100)) for i in range(1, 801)]
    means = resampled(curve, 8)
    assert len(means) == 8
    assert means == pytest.approx(np.arange(8) + 0.01, abs=0.02)
    assert len(sparkline(curve, 32)) == 32


def blue(picture: np.ndarray) -> np.ndarray:
    """Rows and columns of the curve's blue."""
    distance = np.abs(picture.astype(int) - (37, 99, 235)).sum(2)
    return np.argwhere(distance < 60)


def test_a_plot_goes_up_where_the_curve_does() -> None:
    rising = blue(draw({"a": [(0, 0.0), (10, 1.0)]}, "title"))
    left, right = rising[rising[:, 1].argmin()], rising[rising[:, 1].argmax()]
    assert left[0] - right[0] > 120  # a row further up is a smaller number
    assert right[1] - left[1] > 300
    whole = draw({name: [(1, 1.0), (2, 3.0)] for name in "abc"}, "title")
    assert whole.shape == (30 + 2 * 220, 840, 3)
    assert blue(draw({"one point": [(5, 2.0)], "none": [(1, float("nan"))]}, "t")).size > 0


def test_the_running_mean_is_cut_off_at_the_ends() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 10.0]
    assert running_mean(values, 3) == pytest.approx([1.5, 2.0, 3.0, 17 / 3, 7.0])


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (0.0123, 0.0125), (1e5, 2e7), (3, 4), (0, 799)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = _ticks(low, high, False)
    assert 2 <= len(ticks) <= 7
    slack = 1e-9 * (abs(low) + abs(high))
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    steps = np.diff(ticks)
    assert steps == pytest.approx(np.full(len(steps), steps[0]))


def test_logarithmic_ticks_are_one_two_and_five() -> None:
    values = 10 ** np.array(_ticks(-0.1, 1.1, True))
    assert values == pytest.approx([1, 2, 5, 10])


def test_reports(tmp_path: Path) -> None:
    report = Report("title\x1b[2J")
    section = report.section("What")
    section.add("name", "word " * 30)
    section.add("left out", None)
    section.add("", command("celebgen", "sample", "it's", "a" * 120))
    report.section("empty")
    lines = report.text(60).splitlines()
    assert lines[0] == r"title\x1b[2J"
    assert all(len(line) <= 60 for line in lines[:-1])
    assert lines[-1].endswith("'it'\"'\"'s' " + "a" * 120)  # whole, to be pasted
    assert "left out" not in report.text() and "empty" not in report.text()
    assert [size(n) for n in (0, 1023, 1024, 3 * 2**29)] == ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]
    told = settings({"guidance_interval": [0.3, 0.8], "widths": [1, 2, 3], "pag": True, "x": None, "y": {}, "lr": 3e-4})
    assert told == "guidance interval 0.3 to 0.8, widths 1/2/3, pag yes, lr 0.0003"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text(json.dumps("12345"))
    assert bytes_below(tmp_path) == 7
