"""Those who watch a run: they are told what is logged and drawn, and change nothing of what is trained."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn


class Observer:
    """Does nothing at any time; watchers override what they need. In a job of many processes only one has watchers."""

    def started(self, run: Path, step: int) -> None:
        """The run has its folder, and `step` steps were done before."""

    def logged(self, step: int, figures: Mapping[str, float]) -> None:
        """These figures went into metrics.jsonl."""

    def sampled(self, step: int, path: Path) -> None:
        """A picture was written."""

    def stepped(self, step: int, ema: nn.Module) -> Mapping[str, float]:
        """A step was done; what this returns is logged. It must not touch any random state."""
        return {}

    def closed(self) -> None:
        """Training has ended, well or not."""
