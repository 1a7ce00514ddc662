"""Plots of lines: where points lie, what the key says, and that the SVG is well formed."""

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from celebgen_cli.pages.plots import COLOURS, Line, bars_plot, lines_plot, nice_ticks, standalone


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3" [^>]*><title', svg)]


def test_points_lie_where_the_scales_say() -> None:
    svg = lines_plot([Line("a", [(8, 30, 0), (2, 10, 0), (4, 20, 0)])], "calls", "FID", log=True)
    (x2, y10), (x4, y20), (x8, y30) = circles(svg)
    assert x4 - x2 == pytest.approx(x8 - x4, abs=0.2)  # doubling is the same way everywhere
    assert y10 - y20 == pytest.approx(y20 - y30, abs=0.2) and y10 > y30
    straight = circles(lines_plot([Line("a", [(2, 10, 0), (4, 20, 0), (8, 30, 0)])], "calls", "FID"))
    assert straight[2][0] - straight[1][0] == pytest.approx(2 * (straight[1][0] - straight[0][0]), abs=0.2)


def test_error_bars_key_and_escaping() -> None:
    svg = lines_plot([Line("a < b", [(1, 10, 2)]), Line("c", [(1, 12, 0)])], "x & y", "FID")
    root = ElementTree.fromstring(standalone(svg))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in words and "c" in words and "x & y" in words
    (_, top), (_, bottom) = circles(svg)[1], circles(svg)[0]
    bars = re.findall(r'<line x1="([\d.]+)" x2="\1" y1="([\d.]+)" y2="([\d.]+)"', svg)
    assert len(bars) == 1
    half = (float(bars[0][1]) - float(bars[0][2])) / 2
    assert half == pytest.approx(bottom - top, abs=0.2)  # 2 units either way, and the other point is 2 above
    assert COLOURS[0] in svg and COLOURS[1] in svg


def test_more_lines_than_colours_are_told_apart() -> None:
    svg = lines_plot([Line(str(i), [(1, i, 0), (2, i, 0)]) for i in range(len(COLOURS) + 1)], "x", "y")
    looks = re.findall(r"<polyline points=\"[^\"]*\" ([^/]*)/>", svg)
    assert len(set(looks)) == len(COLOURS) + 1


def test_bars_are_as_long_as_their_values() -> None:
    svg = bars_plot([("a & b", 10, "10.0"), ("c", 2.5, "2.5"), ("d", 0, "0")], "FID")
    ElementTree.fromstring(standalone(svg))
    long = [float(width) for width in re.findall(r'<rect class="bar" [^>]*width="([\d.]+)"', svg)]
    assert long[1] == pytest.approx(long[0] / 4, abs=0.1) and long[2] == 0 and "a &amp; b" in svg
    with pytest.raises(ValueError, match="needs a bar"):
        bars_plot([], "FID")


def test_a_plot_needs_a_point() -> None:
    with pytest.raises(ValueError, match="needs a point"):
        lines_plot([Line("a", [])], "x", "y")


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (37.5, 41.2), (0.013, 0.0131), (5, 5), (0, 0), (-3, 250), (-0.2, -0.1)]
)
def test_ticks_enclose_and_are_round(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    steps = {round(b - a, 10) for a, b in zip(ticks, ticks[1:], strict=False)}
    assert 2 <= len(ticks) <= 9 and len(steps) == 1
    assert ticks[0] <= low + 1e-12 and ticks[-1] >= high - 1e-12
    step = steps.pop()
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)
