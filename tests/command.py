"""The command as a user has it: the installed entry point in a process of its own, or the same program in this one."""

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

from typer.testing import CliRunner, Result

COMMAND = Path(sysconfig.get_path("scripts")) / ("celebgen.exe" if sys.platform == "win32" else "celebgen")
ENVIRONMENT = {"COLUMNS": "200", "PYTHONUTF8": "1", "NO_COLOR": "1"}


def celebgen(*arguments: object, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed `celebgen` to its end."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, env=os.environ | ENVIRONMENT, capture_output=True, text=True,
        encoding="utf-8", **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
    )  # fmt: skip


def start(*arguments: object, cwd: Path) -> "subprocess.Popen[str]":
    """Start the installed `celebgen` and return at once; Ctrl-C reaches it even where this is a background job."""
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)], cwd=cwd, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        preexec_fn=None if sys.platform == "win32" else _listen,
    )  # fmt: skip


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def invoke(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """Run the command line in this process, whose subnormal numbers are back afterwards: hypothesis draws such."""
    import torch

    from celebgen_cli.cli import app

    try:
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, env=ENVIRONMENT)
    finally:
        torch.set_flush_denormal(False)


def one_sentence(result: Result, code: int) -> str:
    """The error of a failed call, once it is sure that this is one line on stderr, with nothing on stdout."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    return lines[0]


VOLATILE = ("images_per_second", "memory")
"""Figures in metrics.jsonl that differ between two runs of the same computation."""


class Chain:
    """A folder with a prepared dataset, the three runs and the exported model, all tiny."""

    diffusion_steps = 40

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset, self.clip, self.vae = folder / "dataset", folder / "clip", folder / "vae"
        self.unet, self.model = folder / "unet", folder / "model"
        self.said: dict[str, subprocess.CompletedProcess[str]] = {}

    def train_diffusion(self, run: object, *more: object) -> tuple[object, ...]:
        """The arguments of `train-diffusion` that made `self.unet`, with another run folder."""
        return (
            "train-diffusion", self.dataset, "-o", run, "--vae", self.vae, "--preset", "tiny",
            "--steps", self.diffusion_steps, "--checkpoint-every", 10, "--sample-every", 40, *more,
        )  # fmt: skip

    def commands(self) -> dict[str, tuple[object, ...]]:
        """Every call, with paths as a user would type them."""
        return {
            "prepare": ("prepare", "celeba/img_align_celeba", "-o", "dataset", "--annotations", "celeba", "--size", 32,
                        "--workers", 1),
            "train-clip": ("train-clip", "dataset", "-o", "clip", "--preset", "tiny", "--steps", 20,
                           "--checkpoint-every", 10),
            "train-vae": ("train-vae", "dataset", "-o", "vae", "--text", "clip", "--preset", "tiny", "--steps", 20,
                          "--perceptual", "none", "--checkpoint-every", 10, "--sample-every", 20),
            "train-diffusion": self.train_diffusion("unet"),
            "export": ("export", "unet", "-o", "model", "--steps", 4),
        }  # fmt: skip
