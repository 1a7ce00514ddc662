"""A grid of models and settings, and its cells with every setting in full."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.options import Options
from celebgen_cli.models.registry import find

if TYPE_CHECKING:
    from celebgen_cli.diffusion.schedule import Schedule

METRICS = ("fid", "obedience")
"""What can be measured of a cell; KID comes with FID."""

FIGURES = ("fid", "kid", "obedience")

MOST_SEEDS = 2**32
"""Image seeds below this never share their noise."""


@dataclass(frozen=True)
class Grid:
    """What is varied; every combination is a cell.

    Attributes:
        models: folders or names; None is the model in the box.
        steps, samplers, spacings, guidance: values; None is the model's own.
        seeds: numbers of sets of faces; the seeds of each follow those of the one before, as in `evaluate fid
            --repeats`: with N faces a set, set s begins at seed s N.
        metrics: names among METRICS.
    """

    models: Sequence[str | None] = (None,)
    steps: Sequence[int | None] = (None,)
    samplers: Sequence[str | None] = (None,)
    guidance: Sequence[float | None] = (None,)
    seeds: Sequence[int] = (0,)
    metrics: Sequence[str] = METRICS
    spacings: Sequence[str | None] = (None,)


@dataclass(frozen=True)
class Cell:
    """One combination, with every setting in full.

    Attributes:
        model: the word that names the model, None for the one in the box. label: how tables call it.
        init: where its denoising starts. sha256: digest of its weights.
        settings: what decides a face beside prompt and seed. calls: rows that the network computes for one face.
        set: number of the set of faces. seed: of its first face.
        astray: whether the model's calibration, which is applied, was measured with other settings.
    """

    model: str | None
    label: str
    init: str
    sha256: str
    settings: dict[str, Any]
    calls: int
    set: int
    seed: int
    astray: bool = False


def cells_of(grid: Grid, options: Options) -> Iterator[Cell]:
    """Every cell, set by set; each model is opened once, to say its digest and the settings in full.

    Raises:
        UsageError: settings that cannot be. CelebgenError: a model cannot be read.
    """
    opened = []
    for word in grid.models:
        model = compare.load_pipeline(None if word is None else str(find(word)), options.device)
        fixed = dict(options.sampling)
        rest = {"negative": fixed.pop("negative", ""), "calibrate": fixed.pop("calibrate", True)}
        varied = []
        for sampler, spacing, guidance, steps in product(grid.samplers, grid.spacings, grid.guidance, grid.steps):
            own = {"sampler": sampler, "spacing": spacing, "guidance": guidance, "steps": steps}
            settings = model.settings(**{**fixed, **own})
            if settings not in varied:
                varied.append(settings)
        details = [
            ({**settings, **rest}, network_calls(settings, model.schedule),
             bool(rest["calibrate"] and model.uncalibrated(**settings)))
            for settings in varied
        ]  # fmt: skip
        opened.append((word, model.name, model.unet.config.init, model.sha256, details))
    labels = labels_of(grid.models, [name for _, name, *_ in opened])
    for number in grid.seeds:
        for label, (word, _, init, sha256, details) in zip(labels, opened, strict=True):
            for settings, calls, astray in details:
                yield Cell(word, label, init, sha256, settings, calls, number, number * (options.num or 0), astray)


def labels_of(words: Sequence[str | None], names: Sequence[str]) -> list[str]:
    """A label a model: the last part of its word where these differ, else the whole word; the box's is its name."""
    short = [name if word is None else Path(word).name or word for word, name in zip(words, names, strict=True)]
    if len(set(short)) == len(short):
        return short
    return [name if word is None else word for word, name in zip(words, names, strict=True)]


def check(grid: Grid, num: int) -> None:
    """Refuse a grid that is none.

    Raises:
        UsageError: it is empty, names a model twice, or a set or metric that there is not.
    """
    for name in ("models", "steps", "samplers", "spacings", "guidance", "seeds", "metrics"):
        if not getattr(grid, name):
            raise UsageError(f"the grid needs at least one of its {name}")
    unknown = [name for name in grid.metrics if name not in METRICS]
    if unknown:
        raise UsageError(f"there is no metric '{unknown[0][:40]}' for a grid; choose from {', '.join(METRICS)}")
    if len({None if word is None else find(word, strict=False).resolve() for word in grid.models}) < len(grid.models):
        raise UsageError("a model is named twice; name each once")
    if num < 2:
        raise UsageError(f"--num must be at least 2, not {num}")
    if (max(grid.seeds) + 1) * num > MOST_SEEDS or min(grid.seeds) < 0:
        raise UsageError(f"--seeds counts sets, from 0 to {MOST_SEEDS // num - 1} where a set has {num} faces")


def network_calls(settings: Mapping[str, Any], schedule: Schedule) -> int:
    """Rows that the network computes for one face: evaluations, with both branches of guidance counted where it acts.

    Found by running the sampler on one number with a denoiser that counts.
    """
    import torch

    from celebgen_cli.diffusion.guidance import guided_denoiser
    from celebgen_cli.diffusion.samplers import SAMPLERS, ddim
    from celebgen_cli.diffusion.spacing import spaced_timesteps

    rows = 0

    def count(x: torch.Tensor, t: int) -> torch.Tensor:
        nonlocal rows
        rows += len(x)
        return torch.zeros_like(x)

    denoiser = guided_denoiser(
        count, count, scale=settings["guidance"], interval=tuple(settings["guidance_interval"]),
        timesteps=schedule.timesteps, stacked=count,
    )  # fmt: skip
    run: Any = SAMPLERS[settings["sampler"]]
    if settings["sampler"] == "ddim" and settings["eta"] > 0:
        run = functools.partial(ddim, eta=settings["eta"])
    timesteps = spaced_timesteps(schedule, settings["steps"], settings["spacing"], settings["start"])
    run(denoiser, torch.zeros(1, 1, 1, 1), timesteps, schedule, noise=lambda i: torch.zeros(1, 1, 1, 1))
    return rows


def describe(cell: Cell) -> str:
    """The varied settings in a few words."""
    settings = cell.settings
    words = f"{sampler_words(settings)}, guidance {settings['guidance']:g}, {settings['steps']} steps"
    return words + (f", set {cell.set}" if cell.set else "")


def sampler_words(settings: Mapping[str, Any]) -> str:
    """The sampler, and how its steps are spaced where that is not evenly."""
    spacing = settings.get("spacing", "trailing")
    return str(settings["sampler"]) if spacing == "trailing" else f"{settings['sampler']}, {spacing}"


def cell_row(cell: Cell, figures: Mapping[str, Any]) -> dict[str, Any]:
    """A cell with its figures as one flat row."""
    row = asdict(cell)
    settings = row.pop("settings")
    del row["model"], row["astray"]
    return {
        "model": row.pop("label"), **row,
        "sampler": sampler_words(settings), **{name: settings[name] for name in ("guidance", "steps")},
        **{name: figures.get(name) for name in FIGURES}, "seconds": round(figures["seconds"], 2),
    }  # fmt: skip
