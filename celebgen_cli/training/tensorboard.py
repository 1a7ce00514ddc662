"""Figures and samples of a run as TensorBoard reads them; needs the extra `tensorboard`."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from celebgen_cli.images import read_pixels
from celebgen_cli.training.observers import Observer

HELD_OUT = "valid_"


class TensorBoard(Observer):
    """Writes RUN/tensorboard; figures of steps that a resumed run does again are marked as void."""

    writer: SummaryWriter | None = None

    def started(self, run: Path, step: int) -> None:
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def logged(self, step: int, figures: Mapping[str, float]) -> None:
        assert self.writer is not None
        for name, value in figures.items():
            group = "valid" if name.startswith(HELD_OUT) else "train"
            self.writer.add_scalar(f"{group}/{name.removeprefix(HELD_OUT)}", value, step)

    def sampled(self, step: int, path: Path) -> None:
        assert self.writer is not None
        if path.is_file():
            self.writer.add_image("samples", read_pixels(path), step, dataformats="HWC")

    def closed(self) -> None:
        if self.writer is not None:
            self.writer.close()
