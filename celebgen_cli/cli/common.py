"""What the subcommands share: errors as one sentence, progress on stderr, options that several commands take."""

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli import many
from celebgen_cli.errors import CelebgenError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

DEBUG = False  # set by `celebgen --debug`

Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; default: the best there is.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16 (CUDA only).")]
TrainPrecision = Annotated[str | None, typer.Option(help="auto (default), fp32, bf16 or fp16 (CUDA only).")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Size: tiny (32 px, for tests), small64 or base128; default: that of --text or --vae, or base128."
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps; default: what suits the preset.")]


def _batch_size(given: str | None) -> str | int | None:
    if given is None or given == "auto":
        return given
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise typer.BadParameter(f"'{given}' is neither a number of pictures nor auto.")
    return int(given)


BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures a step.")]
TrainBatchSize = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        callback=_batch_size,
        help="Pictures a step. auto: as many as suit the preset, computed in as few parts as fit into memory.",
    ),
]
Accumulate = Annotated[
    int | None,
    typer.Option(min=1, help="Parts that the pictures of a step are computed in, to save memory; default: 1."),
]
Compile = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="Compile the networks with torch.compile first; default: no."),
]
CheckpointActivations = Annotated[
    bool | None,
    typer.Option(
        "--checkpoint-activations/--keep-activations",
        help="Compute activations again on the way back rather than keep them: less memory, more time; default: keep.",
    ),
]
LearningRate = Annotated[float | None, typer.Option(min=0.0, help="Peak learning rate.")]
EmaHalfLife = Annotated[
    int | None,
    typer.Option(
        min=1, help="Steps after which a weight's share in the average has halved; default: what suits the preset."
    ),
]
TrainSeed = Annotated[int | None, typer.Option(min=0, help="Seed of everything that is drawn; default: 0.")]
CheckpointEvery = Annotated[
    int | None, typer.Option(min=1, help="Steps between checkpoints; default: what suits the preset.")
]
Keep = Annotated[
    int | None,
    typer.Option(min=1, help="Newest checkpoints that are kept, besides the one with the best score; default: 3."),
]
SampleEvery = Annotated[
    int | None, typer.Option(min=1, help="Steps between sample grids in RUN/samples; default: what suits the preset.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from the newest checkpoint in RUN, with its settings where none is given."),
]
InitFrom = Annotated[
    Path | None, typer.Option("--init-from", help="Start from the weights of this model or run, not from noise.")
]
Valid = Annotated[
    Path | None,
    typer.Option(help="Prepared dataset whose valid split is held out; default: DATASET's own, else every 50th image."),
]
Captions = Annotated[
    str | None,
    typer.Option(
        help="grammar: made from attributes; files: the pictures' own; both. Default: grammar where attributes are "
        "known, else files. A picture without the one takes the other."
    ),
]
FilesShare = Annotated[
    float | None, typer.Option(help="With --captions both: share of captions from files; default 0.5.")
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write figures and samples to RUN/tensorboard, for TensorBoard.")
]
RunFolder = Annotated[
    Path,
    typer.Option("--output", "-o", help="Run folder; the same command again goes on with the run that it holds."),
]


def overrides(batch_size: str | int | None, accumulate: int | None, **values: Any) -> dict[str, Any]:
    """Settings of the training loop, None where nothing was said; `accumulate` 0 is what `--batch-size auto` means.

    Raises:
        UsageError: the number of parts is both given and left open.
    """
    if batch_size != "auto":
        size = None if batch_size is None else int(batch_size)
        return {"batch_size": size, "accumulate": accumulate, **values}
    if accumulate is not None:
        raise UsageError("--batch-size auto finds the number of parts itself; leave --accumulate out")
    return {"batch_size": None, "accumulate": 0, **values}


def terminable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command for which SIGTERM is what Ctrl-C is: what is half done is put away, and the exit code is 130."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        import signal
        import threading

        if threading.current_thread() is not threading.main_thread():
            return function(*args, **kwargs)
        def stop(number: int, frame: Any) -> None:
            raise KeyboardInterrupt  # not through SIGINT: shells start background jobs with that ignored

        before = signal.signal(signal.SIGTERM, stop)
        try:
            return function(*args, **kwargs)
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


def say(sentence: str) -> None:
    """One line to stderr, from one process; stdout carries results only."""
    if not many.silent:
        print(sentence, file=sys.stderr, flush=True)


def guard_all(app: typer.Typer) -> None:
    """Turn the errors of every command of `app` into one sentence and an exit code."""
    for command in app.registered_commands:
        assert command.callback is not None
        command.callback = guard(command.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        guard_all(group.typer_instance)


def guard(function: Callable[..., Any]) -> Callable[..., Any]:
    """Exit 1 on errors, 2 on wrong usage, 130 on Ctrl-C, silently 0 when the reader of stdout has gone."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = many.call(function, *args, **kwargs)
            sys.stdout.flush()
            return result
        except CelebgenError as error:
            if DEBUG:
                raise
            say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as error:
            say(f"interrupted: {error}" if error.args else "interrupted")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its exit
            raise typer.Exit(0) from None
        except (OSError, MemoryError) as error:
            if DEBUG:
                raise
            say(f"error: {error}; add --debug before the subcommand to see where it happened")
            raise typer.Exit(1) from None

    return run


@functools.cache
def stderr() -> "Console":
    """A Rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True)


@contextlib.contextmanager
def progress(description: str, total: int | None = None, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A bar with rate and time left on stderr; silent when that is no terminal.

    Yields a function `update(done, total=None, text="")`.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = stderr()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[text]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=quiet or many.silent or not console.is_terminal) as bar:
        task = bar.add_task(description, total=total, text="")

        def update(done: int, total: int | None = None, text: str = "") -> None:
            if total is not None:
                bar.update(task, total=total)
            bar.update(task, completed=done, text=text)

        yield update


@contextlib.contextmanager
def training_progress(description: str, quiet: bool) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A reporter for the training engine: the bar, the loss and the rate."""
    with progress(description, quiet=quiet) as update:

        def report(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            parts = (("loss", "loss {:.4f}"), ("images_per_second", "{:.0f} images/s"), ("memory", "{:.1f} GiB"))
            update(step, steps, "  ".join(form.format(metrics[name]) for name, form in parts if name in metrics))

        yield report


def summary(figures: Mapping[str, float]) -> str:
    """Figures at the end of a training run, in one line; those of single channels stay in metrics.jsonl."""
    from celebgen_cli.training.health import is_per_channel

    return "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if not is_per_channel(name))
