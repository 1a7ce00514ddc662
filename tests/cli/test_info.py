"""`celebgen info` prints what a folder or picture is, as JSON."""

import json
from pathlib import Path

import pytest

from celebgen_cli import pipeline
from celebgen_cli.images import encode_png
from tests.command import Chain, invoke, one_sentence


@pytest.mark.parametrize(
    ("name", "form"), [("model", "celebgen-model"), ("unet", "celebgen-run"), ("dataset", "celebgen-dataset")]
)
def test_folders(chain: Chain, name: str, form: str) -> None:
    out = invoke("info", chain.folder / name)
    assert (out.exit_code, out.stderr) == (0, "")
    assert json.loads(out.stdout)["format"] == form


def test_a_generated_picture(tmp_path: Path, model_folder: Path) -> None:
    made = invoke("sample", "old man — ñ", "--seed", 9, "-o", tmp_path, "--quiet", "--model", model_folder)
    out = invoke("info", made.stdout.strip())
    assert json.loads(out.stdout)["prompt"] == "old man — ñ"
    assert json.loads(out.stdout)["seed"] == 9


def test_other_files(tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "plain.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    assert "has no celebgen metadata" in one_sentence(invoke("info", tmp_path / "plain.png"), 1)
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    assert "cannot be read as an image" in one_sentence(invoke("info", tmp_path / "text.png"), 1)


def test_the_model_in_the_box(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PRETRAINED", model_folder)
    assert json.loads(invoke("info").stdout)["name"] == "tiny-random"
    monkeypatch.setattr(pipeline, "PRETRAINED", tmp_path)
    one_sentence(invoke("info"), 1)
