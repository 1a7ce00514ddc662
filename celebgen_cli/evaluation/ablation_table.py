"""A measured grid as tables, plots and one page in its output folder."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from celebgen_cli import __version__
from celebgen_cli.evaluation.ablation import Ablation
from celebgen_cli.evaluation.grids import cell_row
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.pages import html
from celebgen_cli.pages.plots import Line, lines_plot, standalone

FIGURES = {
    "fid": ("FID", "lower is better", "{:.2f}"),
    "kid": ("KID", "lower is better", "{:.4f}"),
    "obedience": ("Obedience", "higher is better", "{:.3f}"),
}
"""Heading, direction and format of each figure."""

SETTINGS = ("model", "init", "sampler", "guidance", "steps", "calls")


def rows_of(made: Ablation) -> list[dict[str, Any]]:
    """One row a combination: its settings, the number of sets, and mean and spread of each figure over them.

    The spread is the standard deviation over sets (divided by their number - 1), None where there is one set.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell, figures in made.cells:
        row = cell_row(cell, figures)
        groups.setdefault((row["sha256"], *(row[name] for name in SETTINGS)), []).append(row)
    rows = []
    for group in groups.values():
        row = {**{name: group[0][name] for name in SETTINGS}, "sets": len(group)}
        for name in FIGURES:
            values = [one[name] for one in group if one[name] is not None]
            row[name] = statistics.fmean(values) if values else None
            row[f"{name}_spread"] = statistics.stdev(values) if len(values) > 1 else None
        row["seconds"] = round(sum(one["seconds"] for one in group), 2)
        rows.append(row)
    return rows


def write(made: Ablation, output: Path) -> list[Path]:
    """Write `table.md`, `table.csv`, `cells.csv`, a plot of each figure and `ablation.html`; the paths, in this order.

    Raises:
        CelebgenError: the folder cannot be written.
    """
    rows = rows_of(made)
    files = {
        "table.md": markdown(made, rows),
        "table.csv": csv_text(rows),
        "cells.csv": csv_text([cell_row(cell, figures) for cell, figures in made.cells]),
    }
    plots = {name: plot for name in FIGURES if (plot := plot_of(rows, name)) is not None}
    files |= {f"{name}.svg": standalone(plot) for name, plot in plots.items()}
    files["ablation.html"] = page(made, rows, plots)
    for name, text in files.items():
        atomic_write_bytes(output / name, text.encode("utf-8"))
    return [output / name for name in files]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as CSV with a head; what is None is empty."""
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return buffer.getvalue()


def text_table(rows: Sequence[Mapping[str, Any]], join: Callable[[list[list[str]]], str]) -> str:
    """The columns that say something, joined by `join` from lines of cells, the head first."""
    shown = [name for name in FIGURES if any(row[name] is not None for row in rows)]
    heads = ["model", "start", "sampler", "guidance", "steps", "calls", "sets", *(FIGURES[name][0] for name in shown)]
    lines = [heads]
    for row in rows:
        settings = [str(row["model"]), row["init"], row["sampler"], f"{row['guidance']:g}"]
        counts = [str(row[name]) for name in ("steps", "calls", "sets")]
        lines.append([*settings, *counts, *(_figure(row, name) for name in shown)])
    return join(lines)


def aligned(lines: list[list[str]]) -> str:
    """Columns of equal width, words to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [str.ljust] * 3 + [str.rjust] * (len(widths) - 3)
    return "\n".join(
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(made: Ablation, rows: Sequence[Mapping[str, Any]]) -> str:
    """The table with what it depends on."""

    def join(lines: list[list[str]]) -> str:
        cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        rule = ["---"] * 3 + ["---:"] * (len(lines[0]) - 3)
        return "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])

    notes = "".join(f"- {note}\n" for note in notes_of(made))
    return f"{text_table(rows, join)}\n\n{notes}"


def notes_of(made: Ablation) -> list[str]:
    """What the figures depend on, a sentence each."""
    real = made.real
    notes = [
        f"{made.num:,} faces a cell; set s begins at image seed {made.num} times s.",
        "Calls: rows that the network computes for one face, both branches of guidance counted.",
    ]
    if real:
        notes.append(
            f"Reference: {real.get('source')}, N {real.get('n')}, size {real.get('size') or 'unknown'}, crop "
            f"{real.get('crop') or 'unknown'}, filter {real.get('filter') or 'unknown'}."
        )
    if made.floor and made.floor.get("fid") is not None:
        sizes = f"{made.floor['n']:,} and {made.floor['n_real']:,}"
        notes.append(f"Two sets of real images ({sizes}) have FID {made.floor['fid']:.2f}.")
    if len({cell.set for cell, _ in made.cells}) > 1:
        notes.append("±: standard deviation over the sets.")
    return [*notes, *(f"Warning: {text}." for text in made.warnings), *(f"{text}." for text in made.left_out)]


def plot_of(rows: Sequence[Mapping[str, Any]], figure: str) -> str | None:
    """A figure against network calls, a line a model, sampler and guidance; against guidance where only that varies.

    None where the figure was not measured.
    """
    known = [row for row in rows if row[figure] is not None]
    if not known:
        return None
    several = {name: len({row[name] for row in known}) > 1 for name in ("steps", "guidance")}
    across = "guidance" if several["guidance"] and not several["steps"] else "calls"
    parts = [name for name in ("model", "sampler", "guidance") if name != across]
    varied = [name for name in parts if len({row[name] for row in known}) > 1] or ["model"]
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for row in known:
        words = [f"guidance {row[name]:g}" if name == "guidance" else str(row[name]) for name in varied]
        point = (float(row[across]), row[figure], row[f"{figure}_spread"] or 0.0)
        lines.setdefault(", ".join(words), []).append(point)
    heading, direction, _ = FIGURES[figure]
    label = "network calls a face" if across == "calls" else "guidance"
    drawn = [Line(key, points) for key, points in lines.items()]
    return lines_plot(drawn, label, f"{heading} ({direction})", log=across == "calls")


def page(made: Ablation, rows: Sequence[Mapping[str, Any]], plots: Mapping[str, str]) -> str:
    """Table and plots as one page that needs nothing else."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in notes_of(made))
    same: list[str] = []

    def varied(lines: list[list[str]]) -> str:
        """The columns that differ, for a narrow screen; the others are said once."""
        columns = list(zip(*lines, strict=True))
        alike = [i for i, column in enumerate(columns[:7]) if len(set(column[1:])) == 1 and len(rows) > 1]
        same.extend(f"{columns[i][0]} {columns[i][1]}" for i in alike)
        kept = [i for i in range(len(columns)) if i not in alike]
        return html.table([lines[0][i] for i in kept], [[line[i] for i in kept] for line in lines[1:]],
                          text=sum(i < 3 for i in kept))  # fmt: skip

    table = text_table(rows, varied)
    sections = [
        ("table", "Table", f"{table}<ul>{notes}</ul>"),
        *((name, FIGURES[name][0], f"<figure>{plot}</figure>") for name, plot in plots.items()),
    ]
    summary = f"{len(rows)} combinations, {made.num:,} faces a cell."
    if same:
        summary += f" In all of them: {escape(', '.join(same))}."
    return html.document("Ablation", summary, "", sections, f"celebgen {__version__} evaluate ablation")


def _figure(row: Mapping[str, Any], name: str) -> str:
    value, spread, form = row[name], row[f"{name}_spread"], FIGURES[name][2]
    if value is None:
        return "–"
    return form.format(value) + (f" ± {form.format(spread)}" if spread is not None else "")
