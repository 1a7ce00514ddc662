"""A task so small that forty steps take a moment: two layers learn a made-up function."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from celebgen_cli.training.batches import torch_generator
from celebgen_cli.training.engine import Task, TrainConfig, Trainer
from celebgen_cli.training.parts import Part

CONFIG = TrainConfig(
    40, 8, 1e-2, warmup=5, ema_half_life=4, checkpoint_every=10, sample_every=20, log_every=1, precision="fp32"
)


def _target(x: Tensor) -> Tensor:
    return x[:, :2] - 0.5 * x[:, 2:]


class Toy(Task):
    kind = "toy"

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.module: nn.Module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.previews: list[str] = []
        self.bad_from = 10**9
        self.room = 8  # rows that fit into memory
        self.seen: list[Part] = []

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        return [list(self.module[0].parameters()), list(self.module[2].parameters())]  # type: ignore[index]

    def rows(self, step: int) -> Sequence[int]:
        return range(8 * step, 8 * step + 8)

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        part = part or Part(0, 8)
        if part.count > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append(part)
        x = part.of(torch.randn(8, 4, generator=torch_generator(0, step, 0)))
        loss = (self.module(x) - _target(x)).square().mean()
        if step >= self.bad_from:
            loss = loss * float("nan")
        return loss, {"double": 2 * loss.detach()}

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        x = torch.randn(64, 4, generator=torch_generator(0, 0, 9))
        return {"score": float((ema(x) - _target(x)).square().mean())}

    def preview(self, ema: nn.Module, path: Path) -> None:
        self.previews.append(path.name)


def trainer(
    run: Path, config: TrainConfig = CONFIG, resume: bool = False, task: Toy | None = None, **more: object
) -> Trainer:
    return Trainer(
        task or Toy(), run, config, device=torch.device("cpu"), settings={"of": "tests"}, resume=resume,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip
