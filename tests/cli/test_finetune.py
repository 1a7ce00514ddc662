"""`celebgen finetune`: pictures of one's own and a model in, a model that learned from them out."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from celebgen_cli.models.folder import load_model as load_parts
from celebgen_cli.pipeline import load_model
from tests.command import invoke, one_sentence, start
from tests.faces import draw_face
from tests.networks import write_tiny_model

FEW = ("--steps", 6, "--batch-size", 8, "--device", "cpu", "-q")


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn faces; two say what they show."""
    folder, rng = tmp_path_factory.mktemp("own") / "portraits", np.random.default_rng(3)
    folder.mkdir()
    for number in range(12):
        draw_face(rng)[0].save(folder / f"me {number}.png")
    (folder / "me 3.txt").write_text("smiling man\n", encoding="utf-8")
    (folder / "me 4.txt").write_text("old man\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tuned(model_folder: Path, dataset32: Path, portraits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    calibrated = folder / "calibrated"
    assert invoke("calibrate", dataset32, "--model", model_folder, "-o", calibrated, "-n", 8, "-q").exit_code == 0
    out = invoke("finetune", portraits, "-o", folder / "mine", "--model", calibrated, "--caption", "woman", *FEW)
    assert (out.exit_code, out.stdout) == (0, f"{folder / 'mine'}\n"), out.output
    return folder / "mine"


def test_only_the_denoiser_is_another(tuned: Path) -> None:
    before, after = (load_parts(tuned.parent / name) for name in ("calibrated", "mine"))
    for name in ("text", "cvae"):
        ours, theirs = getattr(before, name).state_dict(), getattr(after, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert before.unet is not None
    assert after.unet is not None
    moved = [float((a - b).abs().max()) for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True)]
    assert max(moved) > 1e-4
    assert before.calibration is not None
    assert after.calibration is not None
    assert all(torch.equal(a, b) for a, b in zip(before.calibration, after.calibration, strict=True))


def test_weights_are_stored_as_the_models_were(portraits: Path, tmp_path: Path) -> None:
    """And those that did not learn are the same to the last bit, in 8 bit too."""
    base = write_tiny_model(tmp_path / "base", storage="int8")
    out = invoke("finetune", portraits, "-o", tmp_path / "mine", "--model", base, "--caption", "woman", *FEW)
    assert out.exit_code == 0, out.output
    assert json.loads((tmp_path / "mine" / "model.json").read_text())["storage"] == "int8"
    before, after = (load_parts(tmp_path / name) for name in ("base", "mine"))
    for name in ("text", "cvae"):
        ours, theirs = getattr(before, name).state_dict(), getattr(after, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


def test_pictures_that_cannot_be_used_are_told(model_folder: Path, portraits: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(portraits, tmp_path / "some"))
    (folder / "cut.jpg").write_bytes(b"no picture")
    (folder / "other.heic").write_bytes(b"")
    words = ("finetune", folder, "-o", tmp_path / "mine", "--model", model_folder, *FEW[:-1])
    out = invoke(*words, "--caption", "woman")
    assert out.exit_code == 0, out.output
    said = " ".join(out.stderr.split())
    assert "warning: 2 pictures left out, which cannot be used (some/cut.jpg: " in said
    assert "some/other.heic: this format is not read" in said
    assert "the caption is empty" in one_sentence(invoke(*words, "--caption", "", "--force"), 2)


def test_what_the_model_says_of_itself(tuned: Path) -> None:
    info, before = (json.loads((tuned.parent / m / "model.json").read_text()) for m in ("mine", "calibrated"))
    assert sorted(path.name for path in tuned.iterdir()) == sorted([*before["sha256"], "model.json"])
    assert info["name"] == "mine"
    assert info["defaults"] == before["defaults"]
    assert info["calibration"] == before["calibration"]
    said = info["training"]["finetuned"]
    assert said["from"] == {"name": before["name"], "model_sha256": load_model(tuned.parent / "calibrated").sha256}
    assert said["train"]["steps"] == 6
    assert 0 < said["data"]["train_images"] <= 12
    assert str(tuned.parent) not in json.dumps(info)
    assert not [path.name for path in tuned.parent.iterdir() if path.name.startswith(".")]
    assert load_model(tuned, "cpu").sample(["woman"], [0]).shape == (1, 32, 32, 3)


def test_the_loss_on_the_pictures_falls(model_folder: Path, portraits: Path, tmp_path: Path) -> None:
    """Whoever has seen the pictures predicts them better: same noise, same steps, weights of before and after."""
    from celebgen_cli.data.captions import choose_wording
    from celebgen_cli.data.dataset import open_dataset
    from celebgen_cli.data.prepare import prepare
    from celebgen_cli.models.devices import autocast
    from celebgen_cli.training.batches import training_and_held_out
    from celebgen_cli.training.diffusion import DiffusionTask
    from celebgen_cli.training.latents import encode

    prepare([portraits], tmp_path / "data", annotations=None, size=32, caption="woman", workers=1)
    out = invoke(
        "finetune", tmp_path / "data", "-o", tmp_path / "mine", "--model", model_folder, "--steps", 40, "--batch-size",
        8, "--learning-rate", 1e-3, "-q",
    )  # fmt: skip
    assert out.exit_code == 0, out.output
    model, data = load_model(model_folder, "cpu"), open_dataset(tmp_path / "data")
    wording = choose_wording(data.split("train"), None, None)
    train, held = (
        (some, encode(model.cvae, model.text, some, tmp_path / "latents", autocast(torch.device("cpu"), "fp32"),
                      lambda done, total: None))
        for some in training_and_held_out(data, None, wording)
    )  # fmt: skip
    task = DiffusionTask(model.unet.config, model.schedule, model.cvae, model.text, train, held, 8, 1)
    losses = []
    for folder in (model_folder, tmp_path / "mine"):
        task.model.load_state_dict(load_model(folder, "cpu").unet.state_dict())
        with torch.no_grad():
            losses.append(np.mean([float(task.loss(step)[0]) for step in range(12)]))
    assert losses[1] < 0.98 * losses[0], losses


def test_killed_it_goes_on(model_folder: Path, portraits: Path, tmp_path: Path) -> None:
    words = (
        "finetune", portraits, "-o", tmp_path / "mine", "--model", model_folder, "--batch-size", 4, "--steps", 40, "-q",
    )  # fmt: skip
    process = start(*words, cwd=tmp_path)
    checkpoint = tmp_path / ".mine.partial" / "work" / "run" / "checkpoints" / "step-0000010"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.002)
    process.kill()
    assert checkpoint.exists(), process.communicate()[1]
    process.communicate()
    assert not (tmp_path / "mine").exists()
    out = invoke(*words)
    assert out.exit_code == 0, out.output
    undisturbed = invoke(*(tmp_path / "other" if word == tmp_path / "mine" else word for word in words))
    assert undisturbed.exit_code == 0, undisturbed.output
    for name in ("unet.safetensors", "cvae.safetensors"):
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_force_replaces_models_and_keeps_the_card(
    tuned: Path, portraits: Path, model_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tuned, tmp_path / "mine"))
    words = ("finetune", portraits, "-o", model, "--model", model_folder, *FEW)
    assert "add --force" in one_sentence(invoke(*words), 2)
    (model / "README.md").write_text("My faces.", encoding="utf-8")
    assert invoke(*words, "--force").exit_code == 0
    assert (model / "README.md").read_text(encoding="utf-8") == "My faces."
    (model / "pictures").mkdir()
    (model / "pictures" / "a.txt").write_text("dear", encoding="utf-8")
    assert invoke(*words, "--force").exit_code == 0
    assert (model / "pictures" / "a.txt").read_text(encoding="utf-8") == "dear"
    within = shutil.copytree(portraits, model / "portraits")
    refused = invoke("finetune", within, "-o", model, "--model", model_folder, *FEW, "--force")
    assert "would be gone" in one_sentence(refused, 2)
    assert within.is_dir()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear", encoding="utf-8")
    refused = invoke("finetune", portraits, "-o", tmp_path / "letters", "--model", model_folder, "--force", *FEW)
    assert "no model" in one_sentence(refused, 2)
    assert (tmp_path / "letters" / "a.txt").exists()


def test_what_diverges_says_what_to_do_and_leaves_nothing(
    portraits: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celebgen_cli.training import finetuning

    class Bad(finetuning._Task):
        def loss(self, step: int, part: Any = None) -> Any:
            loss, logged = super().loss(step, part)
            return (loss * float("nan") if step >= 3 else loss), logged

    monkeypatch.setattr(finetuning, "_Task", Bad)
    said = one_sentence(invoke("finetune", portraits, "-o", tmp_path / "mine", "--model", model_folder, *FEW), 1)
    assert "loss nan of step 4" in said and said.endswith("give a lower --learning-rate, or another --seed")
    assert list(tmp_path.iterdir()) == []


def test_refusals(model_folder: Path, dataset32: Path, portraits: Path, tmp_path: Path) -> None:
    def said(*words: object, code: int = 2) -> str:
        return one_sentence(invoke("finetune", *words, "-o", tmp_path / "mine", "--model", model_folder, *FEW), code)

    assert "does not exist" in said(tmp_path / "nowhere")
    assert "only one prepared dataset" in said(dataset32, portraits)
    for words in (("--caption", "a man"), ("--align",), ("--landmarks", tmp_path)):
        assert f"{words[0]} is for folders of pictures" in said(dataset32, *words)
    (tmp_path / "empty").mkdir()
    assert "no image" in said(tmp_path / "empty", code=1)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n")
    assert "could be used" in said(tmp_path / "broken", code=1)
    assert "--landmarks" in said(portraits, "--align")
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    assert "neither a folder nor a zip" in said(tmp_path / "one.png")
    student = Path(shutil.copytree(model_folder, tmp_path / "student"))
    info = json.loads((student / "model.json").read_text(encoding="utf-8"))
    info.setdefault("training", {})["distilled"] = {"steps": 4}
    (student / "model.json").write_text(json.dumps(info), encoding="utf-8")
    refused = invoke("finetune", portraits, "-o", tmp_path / "mine", "--model", student, *FEW)
    assert "is a student of few steps" in one_sentence(refused, 2)
    assert not [path for path in tmp_path.iterdir() if "mine" in path.name]


KILLED = """
import os, sys
from celebgen_cli.training import finetuning

save, replace, remove, after = finetuning.save_model, os.replace, finetuning.shutil.rmtree, sys.argv.pop(1)


def then_killed(name, call):
    def run(*args, **how):
        call(*args, **how)
        if name == after and (name != "removed" or str(args[0]).endswith("run")):
            os.kill(os.getpid(), 9)
    return run


class Os:
    replace = staticmethod(then_killed("moved", replace))

    def __getattr__(self, name):
        return getattr(os, name)


class Shutil:
    rmtree = staticmethod(then_killed("removed", remove))


finetuning.save_model = then_killed("saved", save)
finetuning.carry_over = then_killed("carried", finetuning.carry_over)
finetuning.os, finetuning.shutil = Os(), Shutil()
from celebgen_cli.cli import main

main()
"""


@pytest.mark.parametrize("after", ["saved", "moved", "carried", "removed"])
def test_killed_while_it_finishes_it_goes_on(model_folder: Path, portraits: Path, tmp_path: Path, after: str) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "mine"))
    (model / "pictures").mkdir()
    (model / "pictures" / "a.txt").write_text("dear", encoding="utf-8")
    before = (model / "unet.safetensors").read_bytes()
    words = ["finetune", portraits, "-o", model, "--model", model_folder, "--caption", "woman", *FEW, "--force"]
    done = subprocess.run([sys.executable, "-c", KILLED, after, *map(str, words)], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert (model / "unet.safetensors").read_bytes() == before
    out = invoke(*words)
    assert (out.exit_code, out.stdout) == (0, f"{model}\n"), out.output
    assert (model / "unet.safetensors").read_bytes() != before
    assert load_model(model, "cpu").sample(["man"], [0]).shape == (1, 32, 32, 3)
    assert (model / "pictures" / "a.txt").read_text(encoding="utf-8") == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
