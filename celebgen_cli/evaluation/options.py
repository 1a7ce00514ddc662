"""How to measure, and who hears of it: what every metric's command has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celebgen_cli.errors import counted
from celebgen_cli.evaluation.extraction import Progress, Timing

ARITHMETIC_SECONDS = 20.0
"""What the matrix square root and the KID subsets add at 2,048 dimensions on one core."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        num: images on the generated side; None is as many as the real side has for a model, and all for anything else.
        sampling: what `Model.sample` takes (steps, guidance, ...), for a model; None values are its defaults.
        seed: of the first image that a model draws.
        batch_size: images drawn or read at a time; None is 32.
        device: "cuda", "mps" or "cpu"; None is the best that is there (Inception: CUDA or CPU).
        inception_weights: file, None looks for one.
        kid: whether KID is wanted too.
        cache: whether features are kept, and used again.
        save: folder for the images that a model draws, as PNG.
        repeats: how many sets a model draws, the seeds of each following those of the one before.
        floor: whether the metric is taken between two sets of real images too.
        floor_set: real images other than the reference for that; None takes two parts of the reference.
        features: which network looks at the images, see `celebgen_cli.evaluation.networks`.
    """

    num: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int | None = None
    device: str | None = None
    inception_weights: Path | None = None
    kid: bool = True
    cache: bool = True
    save: Path | None = None
    repeats: int = 1
    floor: bool = True
    floor_set: str | None = None
    features: str = "inception"


class Listener:
    """Hears what happens during a measurement; this one is deaf. The command line has one that prints."""

    def say(self, sentence: str) -> None:
        """One sentence for the user."""

    def progress(self, label: str) -> Progress:
        """A function that is told (images done, images in all) of the set called `label`."""
        return lambda done, total: None


def duration(seconds: float) -> str:
    """A length of time in words that promise no more than an estimate can keep."""
    if seconds < 50:
        return "less than a minute"
    if seconds < 90:
        return "about a minute"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


def estimate(num: int, real_todo: int, listener: Listener) -> Timing:
    """A `timing` function that says once how long everything will take, from the first batch.

    Args:
        num: images whose features the generated side still lacks.
        real_todo: those of the real sides.
    """
    said: list[bool] = []

    def timing(images_seconds: float, features_seconds: float, batch: int) -> None:
        if not said:
            rest = (num * (images_seconds + features_seconds) + real_todo * features_seconds) / batch
            todo = counted(num, "image") + (f" and {real_todo:,} of the real side" if real_todo and num else "")
            todo = todo if num else f"{counted(real_todo, 'image')} of the real side"
            listener.say(f"measuring {todo} will take {duration(rest + ARITHMETIC_SECONDS)} on this machine")
        said.append(True)

    return timing
