"""Commands under torchrun: every process runs the same command line, and one of them speaks.

Training runs in all processes. What draws or measures runs in the main one, which the others help. All other commands
are for one process.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from celebgen_cli import processes
from celebgen_cli.errors import UsageError

silent = False  # whether another process speaks for this one

# commands that every process runs, and those that the main one runs with the help of the others
COMMANDS = {
    "train-clip": "all", "train-vae": "all", "train-diffusion": "all", "train-judge": "all", "sample": "main",
    "evaluate": "main",
}  # fmt: skip
_how: dict[Callable[..., Any], str] = {}


def mark(app: typer.Typer, names: Mapping[str, str]) -> None:
    """Say of all commands of `app` which processes run them: those in `names`, groups among them, "all" or "main"."""
    for command in app.registered_commands:
        if command.callback is not None:
            _how[command.callback] = names.get(command.name or "", names.get("*", "one"))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            mark(group.typer_instance, {"*": names.get(group.name or "", "one")})


def call(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a command, as one of many processes where this is one."""
    global silent
    how = _how.get(command)
    if how is None or not processes.asked():
        return command(*args, **kwargs)
    rank = os.environ["RANK"]
    if how == "one":
        if "TORCHELASTIC_RUN_ID" not in os.environ:  # a scheduler that says so of every program it starts
            return command(*args, **kwargs)
        silent = rank != "0"
        raise UsageError("this command runs in one process; start it without torchrun")
    silent = rank != "0"
    try:
        with contextlib.ExitStack() as stack:
            if silent:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            return _joined(command, how, *args, **kwargs)
    except (Exception, KeyboardInterrupt):
        silent = not processes.first_to_tell()
        raise


def _joined(command: Callable[..., Any], how: str, *args: Any, **kwargs: Any) -> Any:
    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, _stopped)
    with processes.joined() as world:
        if how == "all":
            return command(*args, **kwargs)
        from celebgen_cli import spread

        if world.main:
            with spread.helped():
                return command(*args, **kwargs)
        return spread.help_out()


def _stopped(signum: int, frame: Any) -> None:
    """What torchrun's SIGTERM means; training has an answer of its own to it."""
    raise processes.JobEnded(
        "the job was ended from outside, or because one of its processes has failed; look for that one's message, then "
        "give the same command again"
    )
