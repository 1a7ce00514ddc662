"""The figures of a run over its steps, and curves of them in one line of text."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

Curve = list[tuple[int, float]]
"""(step, value), in the order in which they were logged."""

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-=+*#@"
ASIDE = ("images_per_second", "memory", "score", "fid_images")
"""Figures that are no curve to look at."""


def read_curves(path: Path) -> dict[str, Curve]:
    """Every figure of a metrics.jsonl; lines that are not whole, or not of numbers, are passed over."""
    curves: dict[str, Curve] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            figures = json.loads(line)
            step = int(figures.pop("step"))
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError):
            continue
        for name, value in figures.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                curves.setdefault(str(name), []).append((step, float(value)))
    return curves


def shown(curves: dict[str, Curve]) -> dict[str, Curve]:
    """Those that are worth a line: not of single channels, and not beside the point."""
    return {n: c for n, c in curves.items() if n not in ASIDE and not _of_a_channel(n)}


def by_channel(curves: dict[str, Curve], name: str) -> list[float]:
    """The newest values of `name_c0`, `name_c1` ..."""
    values: list[float] = []
    while curve := curves.get(f"{name}_c{len(values)}"):
        values.append(curve[-1][1])
    return values


def _of_a_channel(name: str) -> bool:
    head, _, channel = name.rpartition("_c")
    return bool(head) and channel.isdigit()


def is_steep(values: Sequence[float]) -> bool:
    """Whether a logarithmic scale shows more: all values are above zero, and they span more than a factor of 20."""
    return min(values) > 0 and max(values) > 20 * min(values)


def resampled(curve: Curve, width: int) -> list[float]:
    """At most `width` means over equal stretches of steps; stretches without a value are left out."""
    values = [(step, value) for step, value in curve if math.isfinite(value)]
    if not values:
        return []
    first, last = values[0][0], values[-1][0]
    bins: dict[int, list[float]] = {}
    for step, value in values:
        bins.setdefault(min(width - 1, (step - first) * width // max(1, last - first)), []).append(value)
    return [sum(bins[i]) / len(bins[i]) for i in sorted(bins)]


def sparkline(curve: Curve, width: int = 32, blocks: str = BLOCKS) -> str:
    """The curve as characters of eight heights, lowest value to highest; steep ones on a logarithmic scale."""
    values = resampled(curve, width)
    if not values:
        return ""
    if is_steep(values):
        values = [math.log(value) for value in values]
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return blocks[len(blocks) // 2] * len(values)
    return "".join(blocks[round((value - low) / (high - low) * (len(blocks) - 1))] for value in values)
