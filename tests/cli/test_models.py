"""`celebgen models`, and models by name where the commands take one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation import compare
from celebgen_cli.models import registry
from tests.command import invoke, one_sentence


@pytest.fixture
def models(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's model folder with one model, `faces`; the model in the box is a tiny one."""
    monkeypatch.setenv("CELEBGEN_MODELS", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "BOX", model_folder)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, tmp_path / "home" / "faces")
    return tmp_path / "home"


def test_the_list(models: Path, model_folder: Path) -> None:
    out = invoke("models")
    assert out.exit_code == 0
    box, own = out.stdout.splitlines()
    size = f"{sum(path.stat().st_size for path in model_folder.iterdir()) / 2**20:.1f}"
    assert box.split() == ["tiny-random", size, "MiB", "32", "-", str(model_folder)]
    assert own.split() == ["faces", size, "MiB", "32", "-", str(models / "faces")]
    assert out.stderr.split() == ["name", "size", "pixels", "FID", "path"]


def test_as_json(models: Path) -> None:
    info = json.loads((models / "faces" / "model.json").read_text(encoding="utf-8"))
    info["measured"] = {"FID": {"value": 37.5}}
    (models / "faces" / "model.json").write_text(json.dumps(info), encoding="utf-8")
    out = invoke("models", "--json")
    assert (out.exit_code, out.stderr) == (0, "")
    box, own = map(json.loads, out.stdout.splitlines())
    assert (box["box"], box["fid"], own["box"], own["fid"]) == (True, None, False, 37.5)
    assert (own["name"], own["path"], own["image_size"]) == ("faces", str(models / "faces"), 32)


def test_a_damaged_model_is_listed_with_a_warning(models: Path) -> None:
    (models / "faces" / "model.json").write_text("{", encoding="utf-8")
    out = invoke("models")
    assert out.exit_code == 0
    assert out.stdout.splitlines()[1].split()[3:5] == ["-", "-"]
    assert "warning: faces: " in out.stderr


def test_an_empty_model_folder_says_how_to_fill_it(models: Path) -> None:
    shutil.rmtree(models)
    out = invoke("models")
    assert len(out.stdout.splitlines()) == 1
    assert "celebgen export RUN -o" in out.stderr
    assert not models.exists()


def test_the_list_needs_no_torch(models: Path) -> None:
    code = "import sys; from celebgen_cli.cli import app\ntry: app(['models'])\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_commands_take_a_name(models: Path, tmp_path: Path) -> None:
    drawn = invoke("sample", "man", "--model", "faces", "-o", "out", "--quiet", "--json")
    assert drawn.exit_code == 0, drawn.stderr
    same = invoke("sample", "man", "--model", models / "faces", "-o", "again", "--quiet", "--json")
    assert json.loads(drawn.stdout)["model_sha256"] == json.loads(same.stdout)["model_sha256"]
    assert json.loads(invoke("info", "faces", "--json").stdout)["name"] == "tiny-random"
    assert invoke("export", "faces", "-o", "copy", "--name", "copy").exit_code == 0
    assert json.loads((tmp_path / "copy" / "model.json").read_text(encoding="utf-8"))["name"] == "copy"


def test_evaluate_takes_a_name(models: Path, dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("evaluate", "reconstruction", "faces", dataset32, "--no-rfid", "--num", 4, "--json")
    measured = invoke(*words)
    assert measured.exit_code == 0, measured.stderr
    same = invoke(*(models / "faces" if word == "faces" else word for word in words))
    assert json.loads(measured.stdout)["psnr"] == json.loads(same.stdout)["psnr"]

    def no_weights(*_: object, **more: object) -> None:
        raise CelebgenError("no weights")  # what is looked for once both words are understood

    monkeypatch.setattr(compare, "load_inception", no_weights)
    assert "no weights" in one_sentence(invoke("evaluate", "fid", "faces", dataset32), 1)
    assert "fases does not exist" in one_sentence(invoke("evaluate", "fid", "fases", dataset32), 2)


def test_a_name_that_no_model_has(models: Path) -> None:
    said = one_sentence(invoke("sample", "man", "--model", "fases", "-o", "out"), 1)
    assert "no model folder fases" in said
    assert said.endswith("names that exist: tiny-random, faces")
    one_sentence(invoke("info", "fases"), 1)
    one_sentence(invoke("export", "fases", "-o", "copy"), 1)
    assert not Path("copy").exists()
    said = one_sentence(invoke("sample", "man", "--model", "hf://faces", "-o", "out"), 2)
    assert "write hf://OWNER/NAME" in said
