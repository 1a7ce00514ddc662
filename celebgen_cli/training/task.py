"""What the engine trains, and the settings of its loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from celebgen_cli.training.compiling import callable_networks
from celebgen_cli.training.parts import Part

AUTOMATIC = 0


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the loop; what a task adds is in its own configuration."""

    steps: int
    batch_size: int
    learning_rate: float = 3e-4
    warmup: int = 200  # steps of linear warm-up, then cosine to `final_learning_rate` of the peak
    final_learning_rate: float = 0.05  # share of the peak that is left at the last step
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99  # short runs: the second moment must not remember longer than they last
    clip: float = 1.0  # largest gradient norm of each parameter group
    ema_half_life: int = 500  # steps after which a weight's share in the average has halved
    precision: str = "auto"
    seed: int = 0
    checkpoint_every: int = 500
    sample_every: int = 500
    log_every: int = 20
    keep: int = 3  # newest checkpoints; the one of the best held-out score is kept besides
    accumulate: int = 1  # micro-batches that a batch is computed in; AUTOMATIC: as few as fit into memory
    compile: bool = False  # torch.compile
    checkpoint_activations: bool = False  # compute activations again on the way back, rather than keep them


class Task(Protocol):
    """What is trained. `module` has the trainable parameters and nothing else."""

    kind: str
    module: nn.Module
    # whether rows of a batch see each other in the loss: such a batch is not computed in micro-batches
    coupled: bool = False
    # the figure whose climb is divergence; a sum with a critic's loss in it goes up and down by design
    watched: str = "loss"

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        """Groups whose gradients are clipped each on their own."""

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Loss of one step (0-based) and what to log with it; a pure function of the task's seed and the step.

        Of a part of the batch: the mean over its rows, with what was drawn for them as rows of the whole batch.
        """

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """Figures on held-out data with the averaged weights; `score` (lower is better) picks the best."""

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Write a picture of what the averaged weights do."""

    def rows(self, step: int) -> Sequence[int]:
        """Which rows of the training split the batch of a step is, to tell which data a loss went wrong on."""
        return ()

    def networks(self) -> Sequence[nn.Module]:
        """The modules that the loss calls, for torch.compile."""
        return callable_networks(self.module)
