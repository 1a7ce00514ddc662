"""`celebgen sample`: only paths on stdout, prompts from everywhere, pictures that say how they were made."""

import io
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.images import read_metadata
from celebgen_cli.pipeline import load_model
from tests.command import Chain, celebgen, invoke, one_sentence


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_through_the_installed_command(chain: Chain, tmp_path: Path) -> None:
    done = celebgen("sample", "smiling woman blond hair", "--model", chain.model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = Path("outputs", "0000_0_smiling-woman-blond-hair.png")
    assert done.stdout == f"{path}\n"
    assert done.stderr == ""
    assert pixels(tmp_path / path).shape == (32, 32, 3)
    metadata = read_metadata(tmp_path / path)
    assert (metadata["prompt"], metadata["seed"], metadata["steps"]) == ("smiling woman blond hair", 0, 4)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM to one process")
def test_sigterm_leaves_whole_pictures_alone(here: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here while the first is flushed to the disk."""
    fsync = os.fsync

    def ended(handle: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        fsync(handle)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", ended)
        out = invoke("sample", "man", "--model", model_folder, "-o", "faces")
    said = "interrupted: after 0 faces; the same command goes on\n"
    assert (out.exit_code, out.stdout, out.stderr) == (130, "", said)
    assert list(here.rglob("*.*")) == [] and signal.getsignal(signal.SIGTERM) == before


def test_stdout_carries_paths_only(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "young zebra", "man", "-n", 2, "--seed", 7, "--model", model_folder, "-o", "faces")
    assert out.exit_code == 0, out.stderr
    names = ["0000_7_young-zebra", "0001_8_young-zebra", "0002_7_man", "0003_8_man"]
    assert out.stdout.splitlines() == [str(Path("faces", f"{name}.png")) for name in names]
    assert all(Path(line).is_file() for line in out.stdout.splitlines())
    assert out.stderr == "warning: the text encoder never saw 'zebra' in 'young zebra'\n"
    assert sorted(p.name for p in here.iterdir()) == ["faces"]
    quiet = invoke("sample", "young zebra", "--quiet", "--model", model_folder, "-o", "faces")
    assert quiet.stderr == ""


def test_metadata_tells_how_it_was_made(here: Path, model_folder: Path) -> None:
    out = invoke(
        "sample", "Smiling woman — ñ", "--seed", 2**40, "--steps", 2, "--sampler", "ddpm", "--guidance", 3.5,
        "--guidance-interval", 0.25, 1, "--pag", "--negative", "hat", "--precision", "fp32",
        "--device", "cpu", "--model", model_folder,
    )  # fmt: skip
    path = Path(out.stdout.strip())
    metadata = read_metadata(path)
    model = load_model(model_folder, "cpu", "fp32")
    expected = {
        "prompt": "Smiling woman — ñ", "negative": "hat", "seed": 2**40, "steps": 2, "sampler": "ddpm", "guidance": 3.5,
        "guidance_interval": [0.25, 1.0], "pag": True, "start": 1.0, "precision": "fp32", "size": 32,
        "model": "tiny-random", "model_sha256": model.sha256,
    }  # fmt: skip
    assert expected.items() <= metadata.items()
    with Image.open(path) as image:
        parameters = image.info["parameters"]
    assert parameters.startswith(
        "Smiling woman — ñ\nNegative prompt: hat\nSteps: 2, Sampler: ddpm, CFG scale: 3.5, PAG: on, Seed: "
    )
    again = model.sample(
        [metadata["prompt"]], [metadata["seed"]], steps=metadata["steps"], sampler=metadata["sampler"],
        guidance=metadata["guidance"], guidance_interval=metadata["guidance_interval"], pag=metadata["pag"],
        negative=metadata["negative"],
    )  # fmt: skip
    assert np.array_equal(again[0], pixels(path))


def test_a_seed_gives_the_same_face_at_any_batch_size(here: Path, model_folder: Path) -> None:
    found = []
    for size in (1, 3, 8):
        words = ("sample", "man", "smiling woman with bangs", "-n", 4, "--batch-size", size, "-o", f"b{size}")
        out = invoke(*words, "--model", model_folder, "--precision", "fp32")
        found.append(np.stack([pixels(Path(line)) for line in out.stdout.splitlines()]).astype(int))
    assert len(found[0]) == 8
    assert all(np.abs(other - found[0]).max() <= 1 for other in found)
    later = invoke("sample", "man", "--seed", 3, "-o", "late", "--model", model_folder, "--precision", "fp32")
    assert np.abs(pixels(Path(later.stdout.strip())) - found[0][3]).max() <= 1  # -n counts seeds up


def test_nothing_is_overwritten_and_nothing_is_doubled(here: Path, model_folder: Path) -> None:
    words = ("sample", "man", "-o", "faces", "--model", model_folder)
    first, second, other = invoke(*words), invoke(*words), invoke(*words, "--steps", 2)
    assert first.stdout == second.stdout
    assert other.stdout.strip() == str(Path("faces", "0000_0_man-1.png"))
    assert len(list(Path("faces").iterdir())) == 2


def test_json(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "man", "ñandú", "-n", 2, "--json", "--model", model_folder, "--grid", "sheet.png")
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    assert [(row.get("prompt"), row.get("seed")) for row in rows] == [
        ("man", 0), ("man", 1), ("ñandú", 0), ("ñandú", 1), (None, None)
    ]  # fmt: skip
    for row in rows[:4]:
        assert read_metadata(Path(row["path"])).items() <= row.items()
        assert row["seconds"] > 0
    assert rows[4] == {"path": "sheet.png", "grid": True, "faces": 4}


def test_one_png_to_stdout(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "man", "-o", "-", "--model", model_folder)
    assert out.exit_code == 0, out.stderr
    invoke("sample", "man", "-o", "faces", "--model", model_folder)
    assert out.stdout_bytes == Path("faces", "0000_0_man.png").read_bytes()
    with Image.open(io.BytesIO(out.stdout_bytes)) as image:
        assert json.loads(image.info["celebgen"])["prompt"] == "man"
    assert sorted(p.name for p in here.iterdir()) == ["faces"]


def test_grid_is_one_sheet(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "man", "woman", "-n", 3, "--grid", "new/sheet.png", "--model", model_folder)
    lines = out.stdout.splitlines()
    assert lines[-1] == str(Path("new", "sheet.png"))
    sheet = pixels(Path(lines[-1]))
    assert sheet.shape == (2 * (34 + 14) - 2, 3 * 34 - 2, 3)
    for i, line in enumerate(lines[:-1]):
        top, left = i // 3 * 48, i % 3 * 34
        assert np.array_equal(sheet[top : top + 32, left : left + 32], pixels(Path(line)))


def test_prompts_from_stdin(here: Path, model_folder: Path) -> None:
    stdin = "old man\n\n  \nsmiling woman, 30 años\r\n"
    out = invoke("sample", "-o", "faces", "--json", "--model", model_folder, stdin=stdin.encode())
    assert [json.loads(line)["prompt"] for line in out.stdout.splitlines()] == ["old man", "smiling woman, 30 años"]
    dash = invoke("sample", "-", "-o", "faces", "--model", model_folder, stdin=stdin.encode())
    assert dash.stdout.splitlines() == [json.loads(line)["path"] for line in out.stdout.splitlines()]
    ignored = invoke("sample", "man", "-o", "other", "--json", "--model", model_folder, stdin="woman\n")
    assert [json.loads(line)["prompt"] for line in ignored.stdout.splitlines()] == ["man"]


def test_prompts_from_stdin_through_a_pipe(chain: Chain, tmp_path: Path) -> None:
    done = celebgen("sample", "--model", chain.model, "-o", "faces", cwd=tmp_path, stdin="old man\nwoman\n")
    assert done.returncode == 0, done.stderr
    assert [Path(line).name for line in done.stdout.splitlines()] == ["0000_0_old-man.png", "0001_0_woman.png"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("A/B\\C:D*?", "a-b-c-d"),
        ("笑", "face"),
        ("CON", "con"),
        ("x" * 300, "x" * 48),
    ],
)
def test_file_names_are_safe(here: Path, model_folder: Path, prompt: str, name: str) -> None:
    out = invoke("sample", prompt, "-o", "faces", "--quiet", "--model", model_folder)
    assert out.stdout.strip() == str(Path("faces", f"0000_0_{name}.png"))


@pytest.mark.parametrize(
    ("words", "stdin", "sentence"),
    [
        ((), "", 'no prompt was given; say what the face shows, for example: celebgen sample "smiling woman"'),
        ((), " \n\n", "no prompt was given"),
        (("",), None, "a prompt is empty"),
        (("man", "  "), None, "a prompt is empty"),
        (("a\0b",), None, "a prompt has a NUL character"),
        (("x" * 10_001,), None, "a prompt has 10001 characters"),
        ((), b"\xff\xfeman\n", "stdin is not UTF-8 text at byte 0"),
        (("man", "woman", "-o", "-"), None, "-o - writes one PNG, but 2 faces were asked for"),
        (("man", "-n", "3", "-o", "-"), None, "-o - writes one PNG, but 3 faces were asked for"),
        (("man", "-o", "-", "--json"), None, "-o - and --json both want stdout"),
        (("man", "--seed", str(2**64)), None, "--seed must be at most"),
        (("man", "--steps", "0"), None, "--steps must be from 1 to 1000, not 0"),
        (("man", "--steps", "-3"), None, "--steps must be from 1 to 1000, not -3"),
        (("man", "--steps", "1001"), None, "--steps must be from 1 to 1000, not 1001"),
        (("man", "--sampler", "euler"), None, "there is no sampler 'euler'; choose one of ddim, ddpm, dpmpp_2m"),
        (("man", "--sampler", ""), None, "there is no sampler ''"),
        (("man", "--guidance", "-1"), None, "--guidance must be from 0 to 100, not -1"),
        (("man", "--guidance", "nan"), None, "--guidance must be from 0 to 100, not nan"),
        (("man", "--device", "gpu"), None, "there is no device 'gpu' here; use cuda, mps or cpu"),
        (("man", "--device", "meta"), None, "there is no device 'meta' here"),
        (("man", "--precision", "fp8"), None, "there is no precision 'fp8'"),
        (("man", "--device", "cpu", "--precision", "fp16"), None, "fp16 needs a CUDA device"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_sentence(
    here: Path, model_folder: Path, words: tuple[str, ...], stdin: str | bytes | None, sentence: str
) -> None:
    error = one_sentence(invoke("sample", *words, "--model", model_folder, stdin=stdin), 2)
    assert sentence in error
    assert list(here.iterdir()) == []


def test_models_that_will_not_do(here: Path, model_folder: Path) -> None:
    assert "there is no model folder nowhere" in one_sentence(invoke("sample", "man", "--model", "nowhere"), 1)
    assert "has no model.json" in one_sentence(invoke("sample", "man", "--model", "."), 1)
    import shutil

    shutil.copytree(model_folder, here / "cut")
    path = here / "cut" / "unet.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    error = one_sentence(invoke("sample", "man", "--model", "cut"), 1)
    assert "unet.safetensors is truncated or damaged" in error
    assert sorted(p.name for p in here.iterdir()) == ["cut"]


def test_a_file_in_the_folders_place(here: Path, model_folder: Path) -> None:
    Path("faces").write_text("", encoding="utf-8")
    assert "faces is a file" in one_sentence(invoke("sample", "man", "-o", "faces", "--model", model_folder), 2)


def test_without_a_prompt_through_the_installed_command(tmp_path: Path) -> None:
    done = celebgen("sample", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no prompt was given")
    assert len(done.stderr.splitlines()) == 1


def test_debug_shows_where_it_happened(here: Path) -> None:
    result = invoke("--debug", "sample", "man", "--model", "nowhere")
    assert type(result.exception).__name__ == "CelebgenError"
