"""Pictures and plots as text that an HTML page can hold: data URIs and SVG in the page's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from celebgen_cli.pages.pictures import picture, transparent

CHANNELS = ("#e5484d", "#30a46c", "#3b82f6")
"""Red, green and blue that can be told apart on white and on black."""

POINTS = ((229, 72, 77), (59, 130, 246), (48, 164, 108), (245, 165, 36), (168, 85, 247))


def face(mean: np.ndarray) -> np.ndarray:
    """float [H, W, 3] in levels as uint8."""
    return np.rint(mean).clip(0, 255).astype(np.uint8)


def spread(variance: np.ndarray, brightest: float) -> np.ndarray:
    """The standard deviation of float [H, W, 3], gray, white at `brightest` levels: uint8 [H, W, 3]."""
    deviation = np.sqrt(variance.mean(2).clip(0)) * (255 / brightest if brightest > 0 else 0.0)
    return np.repeat(face(deviation[..., None]), 3, axis=2)


def levels_plot(histograms: np.ndarray) -> str:
    """The share of each level 0 to 255 in each channel, int64 [3, 256], as SVG."""
    width, height, left, right, bottom = 420, 190, 44, 14, 20
    shares = histograms / histograms.sum(1, keepdims=True)
    # one level may hold a tenth of all pixels (black and white borders); the others must stay visible
    top = float(np.quantile(shares, 0.985)) * 1.15 or float(shares.max())
    across, up = (width - left - right) / 255, height - bottom - 8

    def x(level: int) -> float:
        return left + level * across

    def y(share: float) -> float:
        return height - bottom - min(share / top, 1.0) * up

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Share of each level by channel">']
    for share in (0.0, top / 2, top):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>'
            f'<text x="{left - 4}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.1f} %</text>'
        )
    for level in (0, 64, 128, 192, 255):
        parts.append(f'<text x="{x(level):.1f}" y="{height - 5}" text-anchor="middle">{level}</text>')
    for colour, row in zip(CHANNELS, shares, strict=True):
        line = " ".join(f"{x(level):.1f},{y(share):.1f}" for level, share in enumerate(row.tolist()))
        parts.append(
            f'<polygon points="{x(0):.1f},{y(0):.1f} {line} {x(255):.1f},{y(0):.1f}" fill="{colour}" '
            f'fill-opacity=".14"/><polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    return "".join([*parts, "</svg>"])


def bars_plot(counts: Mapping[str, int], below: str, bins: int = 40) -> str:
    """How often each whole number is met ("12": 7, ...), as SVG bars; numbers are put together where they are many."""
    width, height, left, bottom = 420, 170, 44, 34
    numbers = {int(number): count for number, count in counts.items()}
    low, high = min(numbers), max(numbers)
    step = -(-(high - low + 1) // bins)
    sums: dict[int, int] = {}
    for number, count in numbers.items():
        sums[(number - low) // step] = sums.get((number - low) // step, 0) + count
    total, top = (high - low) // step + 1, max(sums.values())
    wide, up = (width - left - 6) / total, height - bottom - 8
    base = height - bottom
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(below)}">']
    for value in sorted({0, top}):
        y = base - up * value / top
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - 6}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>'
        )
    for place, count in sorted(sums.items()):
        first, last = low + place * step, min(high, low + place * step + step - 1)
        what = f"{first}" if first == last else f"{first} to {last}"
        tall, gap = up * count / top, min(1.5, wide / 5)
        parts.append(
            f'<rect class="bar" x="{left + place * wide + gap / 2:.2f}" y="{base - tall:.2f}" '
            f'width="{wide - gap:.2f}" height="{tall:.2f}"><title>{what}: {count:,}</title></rect>'
        )
    every = max(1, -(-total // 8))
    for place in range(0, total, every):
        middle = left + (place + 0.5) * wide
        parts.append(f'<text x="{middle:.1f}" y="{base + 13}" text-anchor="middle">{low + place * step}</text>')
    parts.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 4}" text-anchor="middle">{escape(below)}</text>')
    return "".join([*parts, "</svg>"])


def order_of(phi: np.ndarray) -> list[int]:
    """An order of the attributes that puts correlated ones side by side: by angle in the plane of the two leading
    eigenvectors (Friendly 2002, "Corrgrams"), cut where the gap between neighbours is widest."""
    table = np.nan_to_num(phi)
    vectors = np.linalg.eigh((table + table.T) / 2)[1][:, -2:]
    angles = np.arctan2(vectors[:, 0], vectors[:, 1])
    order = np.argsort(angles, kind="stable")
    gaps = np.diff(np.append(angles[order], angles[order[0]] + 2 * np.pi))
    return [int(i) for i in np.roll(order, -int(np.argmax(gaps)) - 1)]


def correlation_plot(phi: np.ndarray, names: Sequence[str]) -> str:
    """A heat map of phi, float [K, K] with NaN where it is not defined: red above zero, blue below."""
    cell, left, top = 14, 142, 136
    side = cell * len(names)
    order = order_of(phi)
    parts = [
        f'<svg viewBox="0 0 {left + side + 2} {top + side + 2}" role="img" aria-label="Correlation of attributes">'
    ]
    for place, i in enumerate(order):
        name = escape(names[i].replace("_", " "))
        middle = place * cell + cell / 2 + 4
        parts.append(
            f'<text x="{left - 5}" y="{top + middle:.0f}" text-anchor="end">{name}</text>'
            f'<text transform="translate({left + middle:.0f} {top - 5}) rotate(-90)">{name}</text>'
        )
    for row, i in enumerate(order):
        for column, j in enumerate(order):
            value = float(phi[i, j])
            if np.isnan(value) or (abs(value) < 0.015 and i != j):
                continue
            colour = "p" if value > 0 else "n"
            told = "" if i == j else f"<title>{escape(names[i])}, {escape(names[j])}: {value:+.2f}</title>"
            strength = abs(value) ** 0.7  # most correlations are weak; zero stays clear
            parts.append(
                f'<rect class="{"self" if i == j else colour}" x="{left + column * cell}" y="{top + row * cell}" '
                f'width="{cell - 1}" height="{cell - 1}" fill-opacity="{strength:.2f}">{told}</rect>'
            )
    return "".join([*parts, "</svg>"])


def landmarks_plot(points: np.ndarray, mean: np.ndarray) -> str:
    """Where float [N, 5, 2] pixels lie over the mean face, float [size, size, 3]: every point falls on a pixel, and the
    more fall there, the less can be seen through it. Mean and two standard deviations are drawn as ellipses."""
    size = mean.shape[0]
    whole = points[~np.isnan(points).any(axis=(1, 2))].astype(np.float64)
    cloud = np.zeros((size, size, 4))
    ellipses = []
    for i, colour in enumerate(POINTS):
        x, y = whole[:, i, 0], whole[:, i, 1]
        counts = np.histogram2d(y, x, bins=size, range=((0, size), (0, size)))[0]
        strength = (counts / max(counts.max(), 1.0)) ** 0.3
        stronger = strength > cloud[..., 3]
        cloud[stronger] = np.concatenate([np.broadcast_to(colour, (*counts.shape, 3)), strength[..., None]], 2)[
            stronger
        ]
        values, vectors = np.linalg.eigh(np.cov(np.stack([x, y]), bias=True))
        across, along = 2 * np.sqrt(values.clip(0))
        turn = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        ellipses.append(
            f'<ellipse rx="{along:.3f}" ry="{across:.3f}" transform="translate({x.mean():.3f} {y.mean():.3f}) '
            f'rotate({turn:.2f})" fill="none" stroke="#fff" stroke-width="{size / 320:.2f}"/>'
        )
    cloud[..., 3] *= 255
    return (
        f'<svg class="square" viewBox="0 0 {size} {size}" role="img" aria-label="Landmarks over the mean face">'
        f'<image href="{picture(face(mean), 256, 90)}" width="{size}" height="{size}" opacity=".75"/>'
        f'<image class="dots" href="{transparent(np.rint(cloud).astype(np.uint8))}" width="{size}" height="{size}"/>'
        f"{''.join(ellipses)}</svg>"
    )
