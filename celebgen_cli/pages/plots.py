"""Plots of lines and of bars as SVG, in a page's own colours or as a file of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#3e63dd", "#e5484d", "#30a46c", "#f5a524", "#8e4ec6", "#12a594", "#e93d82", "#978365")
"""Told apart on white and on black; after the last the first comes again, dashed."""

DASHES = ("", "6 3", "2 3", "8 3 2 3")

STYLE = (
    "svg{background:#fcfcfd}text{fill:#60646c;font:11px system-ui,sans-serif}.grid{stroke:#d9d9e0}"
    "@media(prefers-color-scheme:dark){svg{background:#111113}text{fill:#b0b4ba}.grid{stroke:#363a3f}}"
)


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        label: plain text for the key.
        points: (x, y, half-length of the error bar, 0 for none), in any order.
    """

    label: str
    points: Sequence[tuple[float, float, float]]


def lines_plot(lines: Sequence[Line], across: str, up: str, *, log: bool = False) -> str:
    """Lines through points with error bars and a key below, as SVG.

    Args:
        lines: with one point at least, all finite, x above 0 where `log`.
        across, up: names of the axes.
        log: whether x is on a logarithmic scale.

    Raises:
        ValueError: there is no point.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        raise ValueError("a plot needs a point")
    width, height, left, right, top = 560, 300, 52, 14, 12
    key_height = 17 * len(lines)
    base = height - 36

    def scale(x: float) -> float:
        return math.log(x) if log else x

    xs = [scale(x) for x, _, _ in points]
    low_x, high_x = min(xs), max(xs)
    pad = 0.04 * (high_x - low_x) or 1.0
    low_x, high_x = low_x - pad, high_x + pad
    ticks = nice_ticks(min(y - e for _, y, e in points), max(y + e for _, y, e in points))
    low_y, high_y = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (width - left - right) * (scale(x) - low_x) / (high_x - low_x),
            base - (base - top) * (y - low_y) / (high_y - low_y),
        )

    parts = [f'<svg viewBox="0 0 {width} {height + key_height}" role="img" aria-label="{escape(f"{up} by {across}")}">']
    for tick in ticks:
        y = place(points[0][0], tick)[1]
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    last = -math.inf
    for value in sorted({x for x, _, _ in points}):
        x = place(value, low_y)[0]
        if x - last < 24:  # labels would run into one another
            continue
        last = x
        parts.append(f'<text x="{x:.1f}" y="{base + 15}" text-anchor="middle">{value:g}</text>')
    middle = (left + width - right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{base + 31}" text-anchor="middle">{escape(across)}</text>')
    parts.append(
        f'<text transform="translate(11 {(top + base) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
    )
    for i, line in enumerate(lines):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
        look = f'stroke="{colour}" stroke-width="1.8" fill="none"' + (f' stroke-dasharray="{dash}"' if dash else "")
        ordered = sorted(line.points)
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y, _ in ordered)
        parts.append(f'<polyline points="{path}" {look}/>')
        for x, y, error in ordered:
            (px, py), told = place(x, y), f"{y:g} ± {error:g}" if error else f"{y:g}"
            if error:
                ends = place(x, y - error)[1], place(x, y + error)[1]
                parts.append(f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" {look}/>')
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"><title>{escape(line.label)}, '
                f"{x:g} {escape(across)}: {told}</title></circle>"
            )
        y = height + 17 * i + 6
        parts.append(
            f'<line x1="{left}" x2="{left + 22}" y1="{y}" y2="{y}" {look}/>'
            f'<circle cx="{left + 11}" cy="{y}" r="3" fill="{colour}"/>'
            f'<text x="{left + 29}" y="{y + 4}">{escape(line.label)}</text>'
        )
    return "".join([*parts, "</svg>"])


def bars_plot(bars: Sequence[tuple[str, float, str]], title: str) -> str:
    """Lying bars from 0, one below the other, as SVG: (label, value of at least 0, the value as text) of each.

    Raises:
        ValueError: there is no bar.
    """
    if not bars:
        raise ValueError("a plot needs a bar")
    width, left, right, step = 560, 190, 64, 26
    longest = max(value for _, value, _ in bars) or 1.0
    parts = [f'<svg viewBox="0 0 {width} {step * len(bars) + 6}" role="img" aria-label="{escape(title)}">']
    for i, (label, value, text) in enumerate(bars):
        y, long = step * i + 4, (width - left - right) * max(value, 0.0) / longest
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{left}" y="{y}" width="{long:.1f}" height="{step - 7}" fill="{COLOURS[0]}"/>'
            f'<text x="{left + long + 6:.1f}" y="{y + 14}">{escape(text)}</text>'
        )
    return "".join([*parts, "</svg>"])


def standalone(svg: str) -> str:
    """The SVG as a file that a browser shows as it is."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{STYLE}</style>", 1
    )


def nice_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """At least two ascending values, 1, 2 or 5 times a power of ten apart, that enclose low..high."""
    span = high - low or abs(high) * 0.1 or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]
