"""Those who watch a run: they are told what is logged and drawn, and change nothing of what is trained."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from celebgen_cli.errors import UsageError
from celebgen_cli.files import atomic_write_bytes

VOLATILE = ("images_per_second", "memory")
"""Figures in metrics.jsonl that differ between two runs of the same computation."""


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


class SavedOptions(Observer):
    """Keeps the options of the command as RUN/config.toml, which `--config` reads."""

    def __init__(self, text: str) -> None:
        self.text = text

    def started(self, run: Path, step: int) -> None:
        atomic_write_bytes(run / "config.toml", self.text.encode("utf-8"))


def observers_of(options: str = "", tensorboard: bool = False) -> list[Observer]:
    """The watchers that a training command asks for.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
    """
    found: list[Observer] = []
    if options:
        found.append(SavedOptions(options))
    if tensorboard:
        try:
            from celebgen_cli.training.tensorboard import TensorBoard
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the package tensorboard; install it with: pip install 'celebgen[tensorboard]'"
            ) from error
        found.append(TensorBoard())
    return found
