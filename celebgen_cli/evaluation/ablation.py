"""FID, KID and obedience over a grid of models, samplers, guidance and steps, each cell measured once.

A cell's figures are those of `evaluate fid` and `evaluate attributes` with the same settings and seed. Whatever was
measured is in the journal of the output folder at once, under everything that decides it: the digest of the model's
weights, the settings in full, seed, N, the reference and the code that draws. So an interrupted grid goes on, and a
larger one begins with what a smaller one has found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.drawn import conditions
from celebgen_cli.evaluation.extraction import Progress
from celebgen_cli.evaluation.features import inception_identity
from celebgen_cli.evaluation.grids import FIGURES, METRICS, Cell, Grid, cells_of, check, describe
from celebgen_cli.evaluation.journal import Journal, alone
from celebgen_cli.evaluation.options import Listener, Options, duration
from celebgen_cli.evaluation.sources import SplitImages
from celebgen_cli.evaluation.statistics import Statistics
from celebgen_cli.models.registry import BOX, find


@dataclass
class Ablation:
    """What a grid came to.

    Attributes:
        cells: each with its figures: fid, kid, obedience (those that were measured), seconds.
        real: what the reference is. floor: what two sets of real images come to, where the reference lets it be known,
        as `evaluate fid` has it. num: faces a cell. warnings: what keeps the figures from being compared with
        others. left_out: what was not measured, and why.
    """

    cells: list[tuple[Cell, dict[str, Any]]] = field(default_factory=list)
    real: dict[str, Any] = field(default_factory=dict)
    floor: dict[str, Any] | None = None
    num: int = 0
    warnings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def measure_grid(
    grid: Grid,
    output: Path,
    real: str | None,
    options: Options,
    *,
    judge: Path | None = None,
    listener: Listener | None = None,
) -> Ablation:
    """Measure every cell that the journal of the folder `output` does not have yet.

    Args:
        real: the reference, as `evaluate fid` takes it.
        options: `num` faces a cell, device, batch size, weights; `sampling` are settings that are not varied.
        judge: a model or run whose judge scores all models; None is the box's, else that of the first model with one.

    Raises:
        UsageError: the grid holds what cannot be, or another process is measuring into `output`.
        CelebgenError: a model, weights or the reference are missing, or the journal cannot be written.
    """
    listener = listener or Listener()
    check(grid, options.num or 0)
    reference = compare.open_real(real)
    identity = _identity(reference)
    cells = list(cells_of(grid, options))
    made = Ablation(num=options.num or 0)
    astray = list(dict.fromkeys(cell.label for cell in cells if cell.astray))
    if astray:
        made.warnings.append(
            f"the calibration of {', '.join(astray)} is applied to cells with other settings than those that it was "
            "measured with; --no-calibrate leaves it out"
        )
    kinds = [kind for kind in METRICS if kind in grid.metrics]
    scorer = None
    if "obedience" in kinds:
        scorer, reason = find_judge(judge, grid.models, reference, options.device)
        if scorer is None:
            if kinds == ["obedience"]:
                raise UsageError(f"obedience cannot be measured: {reason}")
            kinds.remove("obedience")
            made.left_out.append(f"obedience is left out: {reason}")
            listener.say(made.left_out[-1])
    marks: dict[str, dict[str, Any]] = {
        "fid": {"inception": inception_identity(options.inception_weights)} if "fid" in kinds else {},
        "obedience": {"judge": scorer and scorer[1]},
    }
    with alone(output / ".lock"):
        journal = Journal(output / "cells.jsonl")
        common: dict[str, Any] = {"num": options.num, "real": identity, "conditions": conditions(options.device)}
        floor = {"metric": "floor", **common, **marks["fid"]}  # what real images come to is the same for every cell
        of = {
            (i, kind): {
                "metric": kind, "model": [cell.sha256, cell.init], "settings": cell.settings, "seed": cell.seed,
                **common, **marks[kind],
            }
            for i, cell in enumerate(cells)
            for kind in kinds
        }  # fmt: skip
        todo = [place for place, description in of.items() if journal.get(description) is None]
        if len(todo) < len(of):
            listener.say(f"{len(of) - len(todo)} of {len(of)} measurements are in {journal.path} already")
        clock = _Clock(sum(cells[i].calls for i, _ in todo))
        for number, (i, kind) in enumerate(todo, 1):
            cell = cells[i]
            label = f"{number} of {len(todo)}: {cell.label}, {describe(cell)}"
            own = replace(
                options, seed=cell.seed, sampling={**options.sampling, **_asked(cell)},
                floor=kind == "fid" and journal.get(floor) is None, save=None,
            )  # fmt: skip
            started = time.monotonic()
            if kind == "fid":
                found = _distances(cell.model, real, own, _Part(listener, label))
                if own.floor:
                    journal.add(floor, {"floor": found["floor"]})
            else:
                assert scorer is not None
                found = _obedience(cell.model, real, own, scorer[0], _Part(listener, label))
            found["seconds"] = round(time.monotonic() - started, 2)
            journal.add({**of[i, kind]}, found)
            figures = ", ".join(f"{name} {found[name]:.4g}" for name in FIGURES if found.get(name) is not None)
            left = clock.left(cell.calls, found["seconds"])
            listener.say(f"{label}: {figures}" + (f"; {duration(left)} to go" if left else ""))
        for i, cell in enumerate(cells):
            figures_of: dict[str, Any] = {"seconds": 0.0}
            for kind in kinds:
                result = journal.get(of[i, kind]) or {}
                figures_of["seconds"] += result.get("seconds", 0.0)
                figures_of |= {name: result[name] for name in FIGURES if name in result}
                if kind == "fid" and result:
                    made.real = result["real"]
                made.warnings += [text for text in result.get("warnings", []) if text not in made.warnings]
            made.cells.append((cell, figures_of))
        made.floor = (journal.get(floor) or {}).get("floor")
    return made


def find_judge(
    judge: Path | None, models: Sequence[str | None], reference: Any, device: str | None = None
) -> tuple[tuple[Path, str] | None, str]:
    """(place, digest) of the one judge that scores every model; or None and the reason.

    Raises:
        UsageError: the judge that is asked for is none.
    """
    from celebgen_cli.evaluation.judging import ADVICE, has_judge, open_judge

    if not isinstance(reference, SplitImages) or not reference.split.attributes.any():
        return None, "the reference has no pictures of known attributes (name a prepared dataset as --real)"
    if judge is None:
        judge = next((BOX if word is None else find(word) for word in (None, *models) if has_judge(word)), None)
    if judge is None:
        return None, f"no model here has a judge ({ADVICE})"
    return (judge, open_judge(judge, None, device).weights_sha256), ""


class _Part(Listener):
    """Passes on progress, under the cell's name, and keeps sentences to itself: there would be the same for each."""

    def __init__(self, whole: Listener, label: str) -> None:
        self.whole, self.label = whole, label

    def progress(self, label: str) -> Progress:
        return self.whole.progress(f"{self.label}, {label}")


class _Clock:
    """Time left, from the time that network calls took so far."""

    def __init__(self, calls: int) -> None:
        self.calls_left, self.calls_done, self.seconds = calls, 0, 0.0

    def left(self, calls: int, seconds: float) -> float:
        self.calls_left -= calls
        self.calls_done += calls
        self.seconds += seconds
        return self.seconds / max(self.calls_done, 1) * self.calls_left


def _asked(cell: Cell) -> dict[str, Any]:
    return {name: cell.settings[name] for name in ("sampler", "spacing", "guidance", "steps")}


def _distances(model: str | None, real: str | None, options: Options, listener: Listener) -> dict[str, Any]:
    result = compare.compare(model, real, options, listener).to_dict()
    names = ("fid", "kid", "kid_deviation", "kid_subsets", "kid_subset_size", "floor", "real")
    return {**{name: result.get(name) for name in names}, "warnings": list(result["warnings"])}


def _obedience(
    model: str | None, real: str | None, options: Options, judge: Path, listener: Listener
) -> dict[str, Any]:
    from celebgen_cli.evaluation.attributes import evaluate_attributes

    result = evaluate_attributes(model, real, options, judge=judge, listener=listener).to_dict()
    names = ("obedience", "obedience_interval", "hit", "ceiling", "floor", "faces", "judge", "warnings")
    return {name: result[name] for name in names}


def _identity(reference: Any) -> dict[str, Any]:
    """What the reference is, for the journal: its images or what its statistics are of."""
    if isinstance(reference, Statistics):
        features = reference.features is not None  # of which KID is made
        return {"statistics": reference.info.get("fingerprint"), "n": reference.n, "features": features}
    return {"images": reference.fingerprint(), "n": len(reference)}
