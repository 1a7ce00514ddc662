"""What the subcommands share: errors as one sentence, progress on stderr, options that several commands take."""

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli import many
from celebgen_cli.errors import CelebgenError

if TYPE_CHECKING:
    from rich.console import Console

DEBUG = False  # set by `celebgen --debug`

Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; default: the best there is.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16 (CUDA only).")]
MOST_SEED = 2**63 - 1
"""What torch's generators take."""
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, summary, notes or warnings.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures a step.")]


def terminable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function for which SIGTERM is what Ctrl-C is: what is half done is put away, and the exit code is 130."""

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
            result = terminable(many.call)(function, *args, **kwargs)
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
            silence_stdout()
            raise typer.Exit(0) from None
        except (OSError, MemoryError, RuntimeError) as error:
            if DEBUG or (isinstance(error, RuntimeError) and "allocate memory" not in str(error)):
                raise
            what = str(error).splitlines()[0] if str(error) else repr(error)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
                what = "no space is left where stdout goes; free some, or send it elsewhere"  # files name themselves
            say(f"error: {what}; add --debug before the subcommand to see where it happened")
            raise typer.Exit(1) from None

    return run


def silence_stdout() -> None:
    """Write no more to stdout, whose reader has gone: Python would complain at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@functools.cache
def stderr() -> "Console":
    """A Rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True)


@contextlib.contextmanager
def progress(
    description: str, total: int | None = None, quiet: bool = False, waits: bool = False
) -> Iterator[Callable[..., None]]:
    """A bar with rate and time left on stderr; silent when that is no terminal.

    Yields a function `update(done, total=None, text="")`. A bar that `waits` is not seen before its first call: for
    work that may not be needed.
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
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[text]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=quiet or many.silent or not console.is_terminal) as bar:
        task = bar.add_task(description, total=total, text="", visible=not waits)

        def update(done: int, total: int | None = None, text: str = "") -> None:
            if total is not None:
                bar.update(task, total=total)
            bar.update(task, completed=done, text=text, visible=True)

        yield update


@contextlib.contextmanager
def training_progress(description: str, quiet: bool) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A reporter for the training engine: the bar, the loss and the rate."""
    with progress(description, quiet=quiet) as update:

        def report(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            parts = (("loss", "loss {:.4f}"), ("images_per_second", "{:.0f} images/s"), ("memory", "{:.1f} GiB"))
            update(step, steps, "  ".join(form.format(metrics[name]) for name, form in parts if name in metrics))

        yield report
