"""The observers that a training command asks for."""

from pathlib import Path

from celebgen_cli.errors import UsageError
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.training.observers import Observer


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
