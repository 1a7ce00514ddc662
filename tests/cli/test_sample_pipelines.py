"""The examples run, a reader that goes away is no error, and Ctrl-C ends with 130."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import COMMAND, ENVIRONMENT, start

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash") if sys.platform != "win32" else None


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_the_examples_run(tmp_path: Path, model_folder: Path) -> None:
    more = {"PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}", "MODEL": str(model_folder), "N": "3"}
    done = subprocess.run(
        [str(BASH), ROOT / "examples" / "batches.sh"], cwd=tmp_path, env=os.environ | ENVIRONMENT | more,
        capture_output=True, text=True, encoding="utf-8", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len((tmp_path / "listing.txt").read_text().splitlines()) == 3
    rows = [json.loads(line) for line in (tmp_path / "index.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["smiling woman", "serious woman", "bald man"]
    assert all((tmp_path / row["path"]).is_file() for row in rows)
    assert {path.name for path in (tmp_path / "wishes").iterdir()} == {
        "young-woman-bangs-3.webp", "old-man-with-glasses-4.webp",
    }  # fmt: skip
    assert (tmp_path / "again.png").is_file()
    assert (tmp_path / "served.txt").read_text().split() == ["served/0.png", "served/1.png", "served/2.png"]


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_a_reader_that_goes_away(tmp_path: Path, model_folder: Path) -> None:
    line = f'"{COMMAND}" sample man -n 40 --batch-size 1 --model "{model_folder}" | head -n 1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        [str(BASH), "-c", line], cwd=tmp_path, env=os.environ | ENVIRONMENT, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout.split() == [str(Path("outputs", "0000_0_man.png")), "0"]
    assert done.stderr == ""
    assert len(list((tmp_path / "outputs").iterdir())) < 40


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c(tmp_path: Path, model_folder: Path) -> None:
    words = ("sample", "man", "-n", 1000, "--batch-size", 1, "--html", "a.html", "--model", model_folder)
    process = start(*words, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == str(Path("outputs", "0000_0_man.png"))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr.startswith("interrupted: after ")
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]  # half a page is not left behind
    assert not [path for path in (tmp_path / "outputs").iterdir() if path.suffix != ".png"]
