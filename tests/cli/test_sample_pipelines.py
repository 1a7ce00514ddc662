"""The examples run, a reader that goes away is no error, and Ctrl-C ends with 130."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.images import read_metadata, read_pixels
from celebgen_cli.pipeline import load_model
from tests.command import COMMAND, ENVIRONMENT, invoke, one_sentence, start

ROOT = Path(__file__).resolve().parents[2]
BASH = shutil.which("bash") if sys.platform != "win32" else None


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_the_examples_run(tmp_path: Path, model_folder: Path) -> None:
    more = {"PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}", "MODEL": str(model_folder), "N": "3"}
    done = subprocess.run(
        [str(BASH), ROOT / "examples" / "batches.sh"], cwd=tmp_path, env=os.environ | ENVIRONMENT | more,
        capture_output=True, text=True, encoding="utf-8", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("note: 'old man") for line in done.stderr.splitlines())
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


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(("words", "code", "says"), [
    ("sample", 2, "no prompt"), ("sample --prompts -", 2, "error: "), ("serve", 0, ""),
])  # fmt: skip
def test_a_closed_stdin_is_an_empty_one(tmp_path: Path, model_folder: Path, words: str, code: int, says: str) -> None:
    done = subprocess.run(
        [str(BASH), "-c", f'"{COMMAND}" {words} --model "{model_folder}" --quiet <&-'], cwd=tmp_path,
        env=os.environ | ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert says in done.stderr


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


def test_what_captions_cannot_say_is_drawn_in_their_words(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture says both, is drawn again alike, and `--no-read` takes the prompt as it is."""
    monkeypatch.chdir(tmp_path)
    words = ("--model", model_folder, "--device", "cpu")
    out = invoke("sample", "woman not blond", "-n", 2, "-o", "read", "--negative", "zebra hat", *words)
    assert out.exit_code == 0, out.stderr
    note = "note: 'woman not blond' is drawn as 'woman', away from 'zebra hat, blond hair' (--no-read: as it is)"
    assert out.stderr.splitlines().count(note) == 1
    assert "never saw 'zebra' in 'zebra hat, blond hair'" in out.stderr
    path = Path(out.stdout.splitlines()[0])
    metadata = read_metadata(path)
    assert (metadata["prompt"], metadata["negative"]) == ("woman not blond", "zebra hat")
    assert (metadata["read_as"], metadata["read_negative"]) == ("woman", "zebra hat, blond hair")
    plain = invoke("sample", "woman", "--negative", "zebra hat, blond hair", "-o", "plain.png", *words)
    assert plain.exit_code == 0 and np.array_equal(read_pixels(path), read_pixels(tmp_path / "plain.png"))
    assert "read_as" not in read_metadata(tmp_path / "plain.png")
    again = invoke("sample", "--from", path, "-o", "again.png", *words)
    assert again.exit_code == 0 and np.array_equal(read_pixels(path), read_pixels(tmp_path / "again.png"))
    typed = invoke("sample", "woman not blond", "-o", "typed.png", "--no-read", *words)
    assert typed.exit_code == 0 and "note" not in typed.stderr
    assert not np.array_equal(read_pixels(tmp_path / "typed.png"), read_pixels(path))
    same = invoke("sample", "--from", "typed.png", "-o", "same.png", *words)
    assert np.array_equal(read_pixels(tmp_path / "typed.png"), read_pixels(tmp_path / "same.png")), same.stderr
    new = invoke("sample", "man not bearded", "--from", "typed.png", "-o", "new.png", *words)
    assert new.exit_code == 0 and "is drawn as 'man, without a beard'" in new.stderr


def test_what_guidance_one_leaves_of_a_negative_prompt(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, and that is said; so it is of a student, whose defaults are without guidance."""
    monkeypatch.chdir(tmp_path)
    student = Path(shutil.copytree(model_folder, "student"))
    info = json.loads((student / "model.json").read_text(encoding="utf-8"))
    info["defaults"] = {**info.get("defaults", {}), "guidance": 1.0, "steps": 4, "pag": False}
    info.setdefault("training", {})["distilled"] = {"steps": 4}
    (student / "model.json").write_text(json.dumps(info), encoding="utf-8")
    plain = invoke("sample", "woman", "-o", "plain.png", "--guidance", 1, "--no-pag", "--model", model_folder)
    assert plain.exit_code == 0 and "warning" not in plain.stderr
    for model, words, says in (
        (model_folder, ("--guidance", 1, "--no-pag"), "could act on; give more --guidance"),
        (student, (), "could act on: tiny-random has its guidance in its weights"),
    ):
        out = invoke("sample", "woman not blond", "--negative", "hat", "-o", "a", *words, "--model", model)
        assert out.exit_code == 0, out.stderr
        assert out.stderr.count("warning: guidance is 1, so there is nothing that a negative prompt") == 1
        assert says in out.stderr
        assert "is drawn as 'woman' (--no-read" in out.stderr  # not away from anything
    path = Path(out.stdout.splitlines()[0])
    alone = invoke("sample", "woman", "-o", "alone.png", "--model", student)
    difference = read_pixels(path).astype(int) - read_pixels(Path("alone.png"))
    assert np.abs(difference).max() <= 1  # texts beside it change the order of sums on some CPUs
    assert "student" not in alone.stderr
    other = invoke("sample", "woman", "-o", "other.png", "--guidance", 4, "--steps", 7, "--model", student)
    assert "is a student of few steps" in other.stderr
    assert "not for others (steps, guidance)" in other.stderr


def test_words_without_room_are_named(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prompt = ", ".join(["smiling"] * 40) + " woman wearing a hat"
    out = invoke("sample", prompt, "-o", "long.png", "--model", model_folder, "--steps", 1)
    assert out.exit_code == 0 and "is longer than the text encoder reads: it does not see the last" in out.stderr
    cut = load_model(model_folder, "cpu").cut_words(prompt)
    assert cut[-4:] == ["woman", "wearing", "a", "hat"] and f"last {len(cut)} words" in out.stderr
    assert not load_model(model_folder, "cpu").cut_words(" ".join(prompt.split()[: -len(cut)]))
    assert "longer" not in invoke("sample", "smiling woman", "-o", "short.png", "--model", model_folder).stderr


def test_another_kind_of_picture_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "must end in .png" in one_sentence(invoke("sample", "man", "-o", "face.gif"), 2)
    assert not list(tmp_path.iterdir())
