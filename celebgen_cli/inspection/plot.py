"""Curves of a run as one PNG: a panel a figure, drawn with Pillow at twice the size and brought down."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from celebgen_cli.inspection.curves import Curve, is_steep
from celebgen_cli.inspection.report import number

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

_SCALE = 2  # of the drawing over the result: lines are smooth
_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _BELOW = 420, 220, 62, 14, 34, 26  # pixels of a panel and of its margins
_INK, _PALE, _GRID, _LINE, _RAW = "#222222", "#777777", "#e4e4e4", "#2563eb", "#b9cdf8"


def draw(panels: Mapping[str, Curve], title: str) -> np.ndarray:
    """Panels of curves, two a row; where a curve has many points, its running mean is drawn over them.

    Args:
        panels: curves by name; values that are not finite are left out. Steep ones get a logarithmic scale.

    Returns:
        uint8 [H, W, 3].
    """
    from PIL import Image, ImageDraw, ImageFont

    finite = {name: [(s, v) for s, v in curve if math.isfinite(v)] for name, curve in panels.items()}
    kept = {name: curve for name, curve in finite.items() if curve}
    columns, rows = min(2, max(1, len(kept))), max(1, math.ceil(len(kept) / 2))
    head = 30
    size = (columns * _WIDE, head + rows * _HIGH)
    sheet = Image.new("RGB", (size[0] * _SCALE, size[1] * _SCALE), "white")
    canvas = ImageDraw.Draw(sheet)
    large, small = (ImageFont.load_default(points * _SCALE) for points in (14, 11))
    canvas.text((_LEFT * _SCALE, 10 * _SCALE), _latin(title), fill=_INK, font=large)
    for i, (name, curve) in enumerate(kept.items()):
        _panel(canvas, (i % columns) * _WIDE, head + (i // columns) * _HIGH, name, curve, small)
    return np.asarray(sheet.resize(size, Image.Resampling.LANCZOS))


def _panel(
    canvas: "ImageDraw.ImageDraw",
    left: int,
    top: int,
    name: str,
    curve: Curve,
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
) -> None:
    steps, values = [s for s, _ in curve], [v for _, v in curve]
    steep = is_steep(values)
    scaled = [math.log10(v) for v in values] if steep else values
    low, high = min(scaled), max(scaled)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    x0, x1, y0, y1 = left + _LEFT, left + _WIDE - _RIGHT, top + _HIGH - _BELOW, top + _TOP

    def at(step: float, value: float) -> tuple[float, float]:
        x = x0 + (step - first) / (last - first) * (x1 - x0)
        return x * _SCALE, (y0 + (value - low) / (high - low) * (y1 - y0)) * _SCALE

    for tick in _ticks(low, high, steep):
        y = at(first, tick)[1]
        canvas.line([(x0 * _SCALE, y), (x1 * _SCALE, y)], fill=_GRID, width=_SCALE)
        label = number(10**tick if steep else round(tick, 12))
        canvas.text(((x0 - 6) * _SCALE, y), label, fill=_PALE, font=font, anchor="rm")
    for tick in _ticks(first, last, False):
        x = at(tick, low)[0]
        canvas.text((x, (y0 + 5) * _SCALE), f"{tick:,.0f}", fill=_PALE, font=font, anchor="ma")
    told = f"{name}{' (logarithmic)' if steep else ''}: {number(values[-1])}"
    canvas.text((x0 * _SCALE, (top + 12) * _SCALE), _latin(told), fill=_INK, font=font)
    points = [at(s, v) for s, v in zip(steps, scaled, strict=True)]
    if len(points) == 1:
        (x, y), r = points[0], 3 * _SCALE
        canvas.ellipse([x - r, y - r, x + r, y + r], fill=_LINE)
        return
    many = len(points) > 40
    canvas.line(points, fill=_RAW if many else _LINE, width=_SCALE if many else 2 * _SCALE)
    if many:
        smooth = running_mean(scaled, max(3, len(scaled) // 30))
        canvas.line([at(s, v) for s, v in zip(steps, smooth, strict=True)], fill=_LINE, width=2 * _SCALE)


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Means over a window of `width` about each value, cut off at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    start, stop = np.maximum(0, places - width // 2), np.minimum(len(values), places + width - width // 2)
    return [float(v) for v in (sums[stop] - sums[start]) / (stop - start)]


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers from `low` to `high`, about four; of logarithms those of 1, 2 and 5 times powers of ten."""
    if logarithmic:
        powers = range(math.floor(low), math.ceil(high) + 1)
        all_ticks = [p + math.log10(m) for p in powers for m in (1, 2, 5)]
        inside = [t for t in all_ticks if low <= t <= high]
        return inside[:: max(1, math.ceil(len(inside) / 5))]
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _latin(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")
