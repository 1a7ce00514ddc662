"""What the commands that train share: options of the training loop, those of captions, and the line at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli import common
from celebgen_cli.errors import UsageError

if TYPE_CHECKING:
    from celebgen_cli.training.order import Order

RunFolder = Annotated[
    Path,
    typer.Option("--output", "-o", help="Run folder; the same command again goes on with the run that it holds."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Size: tiny (32 px, for tests), small64 or base128; default: that of --text or --vae, or base128."
    ),
]
SampleEvery = Annotated[
    int | None, typer.Option(min=1, help="Steps between sample grids in RUN/samples; default: what suits the preset.")
]


def _batch_size(given: str | None) -> str | int | None:
    if given is None or given == "auto":
        return given
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise typer.BadParameter(f"'{given}' is neither a number of pictures nor auto.")
    return int(given)


@dataclass(frozen=True)
class Wording:
    """Where the captions come from."""

    captions: Annotated[
        str | None,
        typer.Option(
            help="grammar: made from attributes; files: the pictures' own; both. Default: grammar where attributes are "
            "known, else files. A picture without the one takes the other."
        ),
    ] = None
    files_share: Annotated[
        float | None, typer.Option(help="With --captions both: share of captions from files; default 0.5.")
    ] = None


@dataclass(frozen=True)
class Loop:
    """What every command that trains is told: the loop's settings, where it begins, on what; None is what suits."""

    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; default: what suits the preset.")] = None
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            callback=_batch_size,
            help="Pictures a step. auto: as many as suit the preset, computed in as few parts as fit into memory.",
        ),
    ] = None
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Parts that the pictures of a step are computed in, to save memory; default: 1."),
    ] = None
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak learning rate.")] = None
    ema_half_life: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps after which a weight's share in the average has halved; default: what suits the preset."
        ),
    ] = None
    valid: Annotated[
        Path | None,
        typer.Option(
            help="Prepared dataset whose valid split is held out; default: DATASET's own, else every 50th image."
        ),
    ] = None
    init_from: Annotated[
        Path | None, typer.Option("--init-from", help="Start from the weights of this model or run, not from noise.")
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the newest checkpoint in RUN, with its settings where none is given."
        ),
    ] = False
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=common.MOST_SEED, help="Seed of everything that is drawn; default: 0."),
    ] = None
    precision: Annotated[str | None, typer.Option(help="auto (default), fp32, bf16 or fp16 (CUDA only).")] = None
    device: common.Device = None
    compile: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile the networks with torch.compile first; default: no."),
    ] = None
    checkpoint_activations: Annotated[
        bool | None,
        typer.Option(
            "--checkpoint-activations/--keep-activations",
            help="Compute activations again on the way back rather than keep them: less memory, more time; default: "
            "keep.",
        ),
    ] = None
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints; default: what suits the preset.")
    ] = None
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Newest checkpoints that are kept, besides the one with the best score; default: 3."),
    ] = None
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write figures and samples to RUN/tensorboard, for TensorBoard.")
    ] = False
    quiet: common.Quiet = False

    def overrides(self, **more: Any) -> dict[str, Any]:
        """Settings of the loop as `celebgen_cli.training.engine.TrainConfig` has them, None where nothing was said.

        `accumulate` 0 is what `--batch-size auto` means.

        Raises:
            UsageError: the number of parts is both given and left open.
        """
        names = ("learning_rate", "ema_half_life", "seed", "precision", "compile", "checkpoint_activations",
                 "checkpoint_every", "keep", "steps")  # fmt: skip
        values = {name: getattr(self, name) for name in names} | more
        if self.batch_size != "auto":
            size = None if self.batch_size is None else int(self.batch_size)
            return {"batch_size": size, "accumulate": self.accumulate, **values}
        if self.accumulate is not None:
            raise UsageError("--batch-size auto finds the number of parts itself; leave --accumulate out")
        return {"batch_size": None, "accumulate": 0, **values}

    def order(
        self, dataset: Path, output: Path, options: str, wording: Wording | None = None, **overrides: Any
    ) -> "Order":
        """All of it as `celebgen_cli.training.recipes` takes it.

        Args:
            options: all options as TOML, which the run folder keeps.
            overrides: settings of the loop that are no options of this group.

        Raises:
            UsageError: see `overrides`.
        """
        from celebgen_cli.training.order import Order
        from celebgen_cli.training.watching import observers_of

        return Order(
            dataset, output, self.overrides(**overrides), **vars(wording or Wording()), valid=self.valid,
            init_from=self.init_from, resume=self.resume, device=self.device, warn=common.say,
            observers=observers_of(options, self.tensorboard),
        )  # fmt: skip


def summary(figures: Mapping[str, float]) -> str:
    """Figures at the end of a training run, in one line; those of single channels stay in metrics.jsonl."""
    from celebgen_cli.training.health import is_per_channel

    return "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if not is_per_channel(name))
