"""`celebgen train-judge`, and `export --judge`: a run, a model folder that has a judge, and one that keeps it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from celebgen_cli.cli import app
from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.judging import has_judge, open_judge
from celebgen_cli.models.folder import load_model, networks_of
from celebgen_cli.pipeline import load_model as load_pipeline
from tests.captioned import captioned


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory, dataset32: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "judge"
    out = run("train-judge", dataset32, "-o", folder, "--preset", "tiny", "--steps", 12)
    assert out.exit_code == 0 and out.stdout == f"{folder}\n", out.stderr
    assert "accuracy" in out.stderr and "on 12 pictures" in out.stderr
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, judge: Path, model_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("models") / "judged"
    out = run("export", model_folder, "-o", folder, "--judge", judge, "--storage", "fp32")
    assert out.exit_code == 0, out.stderr
    return folder


def test_a_run_says_what_it_reached(judge: Path) -> None:
    report = json.loads((judge / "report.json").read_text(encoding="utf-8"))
    assert 0.4 < report["accuracy"] < 1 and len(report["attributes"]) == 40 and report["images"] == 12
    assert report["accuracy"] == pytest.approx(np.mean(list(report["attributes"].values())))
    config = json.loads((judge / "config.json").read_text(encoding="utf-8"))
    assert config["kind"] == "judge" and config["train"]["steps"] == 12 and config["data"]["train_images"] == 42
    assert "captions" not in config


def test_a_judge_goes_into_a_model_and_stays(model: Path, model_folder: Path, judge: Path, tmp_path: Path) -> None:
    assert networks_of(model) == ("text", "cvae", "unet", "judge") and has_judge(model)
    assert not has_judge(model_folder)
    info = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert info["training"]["judge"]["stopped_at"] == 12 and info["training"]["judge"]["data"]["train_images"] == 42
    assert "judge.safetensors" in info["sha256"]
    assert load_pipeline(model).sha256 == load_pipeline(model_folder).sha256  # it changes no face
    out = run("export", model, "-o", tmp_path / "again", "--storage", "int8", "--steps", 2)
    assert out.exit_code == 0 and networks_of(tmp_path / "again")[-1] == "judge", out.stderr
    assert json.loads((tmp_path / "again" / "model.json").read_text())["training"]["judge"] == info["training"]["judge"]
    faces = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(open_judge(None, str(model))(faces), open_judge(judge, None)(faces), atol=1e-6)
    np.testing.assert_allclose(open_judge(tmp_path / "again", None)(faces), open_judge(judge, None)(faces), atol=0.02)


def test_a_damaged_judge_is_named(model: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "judge.safetensors").write_bytes((broken / "judge.safetensors").read_bytes()[:-9])
    assert load_model(broken).judge is None  # what draws does not read it
    with pytest.raises(CelebgenError, match=r"judge\.safetensors is truncated"):
        open_judge(broken, None)


def test_options_are_shown_and_kept(dataset32: Path, judge: Path) -> None:
    out = run("train-judge", dataset32, "-o", "run", "--preset", "tiny", "--print-config")
    assert out.exit_code == 0 and "steps = 20" in out.stdout and "learning-rate = 0.002" in out.stdout
    assert not Path("run").exists() and "steps = 12" in (judge / "config.toml").read_text(encoding="utf-8")


def test_what_cannot_be_trained_or_exported(dataset32: Path, model_folder: Path, judge: Path, tmp_path: Path) -> None:
    nameless = captioned(dataset32, tmp_path / "nameless", known=False)
    out = run("train-judge", nameless, "-o", tmp_path / "run", "--preset", "tiny")
    assert out.exit_code == 2 and "does not know the attributes" in out.stderr
    out = run("train-judge", dataset32, "-o", tmp_path / "run", "--preset", "huge")
    assert out.exit_code == 2 and "no preset 'huge'" in out.stderr
    out = run("export", model_folder, "-o", tmp_path / "model", "--judge", model_folder)
    assert out.exit_code == 1 and "no judge network" in out.stderr and not (tmp_path / "model").exists()
    out = run("export", judge, "-o", tmp_path / "model")
    assert out.exit_code == 1 and "kind 'judge'" in out.stderr


def test_a_run_starts_from_another(dataset32: Path, judge: Path, model: Path, tmp_path: Path) -> None:
    for source in (judge, model):
        out = run("train-judge", dataset32, "-o", tmp_path / source.name, "--preset", "tiny", "--steps", 1,
                  "--learning-rate", 0, "--init-from", source)  # fmt: skip
        assert out.exit_code == 0, out.stderr
        faces = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        mine, before = open_judge(tmp_path / source.name, None)(faces), open_judge(judge, None)(faces)
        np.testing.assert_allclose(mine, before, atol=1e-5)
