"""Help and version answer at once: nothing heavy is imported for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from celebgen_cli import __version__
from tests.command import COMMAND, ENVIRONMENT, celebgen, invoke

COMMANDS = [
    "sample", "download", "prepare", "explore", "train-clip", "train-vae", "train-diffusion", "train-judge",
    "export", "calibrate", "info", "evaluate", "models", "serve", "edit", "interpolate", "vary",
]  # fmt: skip
HEAVY = ["torch", "torchvision", "open_clip", "pandas", "numpy", "PIL", "safetensors", "torch_fidelity"]

PROBE = f"""
import contextlib, io, json, sys
from celebgen_cli.cli import app
said = {{}}
for words in (["--help"], ["--version"], *([c, "--help"] for c in {COMMANDS!r})):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        app(words)
    said[" ".join(words)] = [out.getvalue(), [m for m in {HEAVY!r} if m in sys.modules]]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, tuple[str, list[str]]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=os.environ | ENVIRONMENT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_nothing_heavy_is_imported(said: dict[str, tuple[str, list[str]]]) -> None:
    assert {words: heavy for words, (_, heavy) in said.items() if heavy} == {}


def test_every_command_explains_itself(said: dict[str, tuple[str, list[str]]]) -> None:
    for command in COMMANDS:
        assert command in said["--help"][0]
        text = said[f"{command} --help"][0]
        assert "Usage" in text
        assert command in text
    assert said["--version"][0] == f"celebgen {__version__}\n"


def test_the_module_is_the_same_program(tmp_path: Path) -> None:
    module = subprocess.run(
        [sys.executable, "-m", "celebgen_cli", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    command = celebgen("--version", cwd=tmp_path)
    assert (command.returncode, command.stdout, command.stderr) == (0, f"celebgen {__version__}\n", "")
    assert (module.returncode, module.stdout) == (0, command.stdout)


def test_shell_completion(tmp_path: Path) -> None:
    asked = {"_CELEBGEN_COMPLETE": "complete_bash", "COMP_WORDS": "celebgen train-", "COMP_CWORD": "1"}
    done = subprocess.run([COMMAND], env=os.environ | ENVIRONMENT | asked, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["train-clip", "train-vae", "train-diffusion", "train-judge"], done.stderr


@pytest.mark.parametrize(
    "words", [("frobnicate",), ("sample", "--frobnicate"), ("export",), ("sample", "-n", "0", "x")]
)
def test_words_that_mean_nothing(words: tuple[str, ...]) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr
    assert "Traceback" not in result.stderr
