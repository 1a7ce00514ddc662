"""`celebgen evaluate`: results on stdout, the rest on stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from celebgen_cli.cli import app
from celebgen_cli.evaluation import compare as module
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_inception", lambda *args, **kwargs: StubExtractor())
    monkeypatch.setattr(module, "load_pipeline", lambda word, device: FakeModel())


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_fid_in_words(tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELEBGEN_DATASET", str(write_dataset(tmp_path / "data", *faces)))
    out = run("fid", "--steps", 9, "--seed", 5, "--num", 30, "--save", tmp_path / "kept")
    assert out.exit_code == 0, out.stderr
    lines = out.stdout.splitlines()
    assert lines[0].startswith("FID ") and float(lines[0].split()[1]) > 0
    assert lines[1].startswith("KID ") and "100 subsets of 30" in lines[1]
    assert lines[2].startswith("floor      FID ") and "KID" in lines[2]
    assert lines[3].endswith("between two parts of data:valid that share no image, N 30 and 30")
    assert "by the law of 1/N about FID" in lines[4] and lines[4].endswith("at N 30 and 60")
    assert "fake, N 30, size 32, crop face178, sampler ddim, steps 9, guidance 2.0, seed 5" in lines[5]
    assert "data:valid, N 60, size 32, crop face178, filter lanczos" in lines[6]
    assert "torch-fidelity" in lines[7] and len(lines) == 8
    assert "warning: N differs (30 and 60)" in out.stderr and "will take" in out.stderr
    assert len(list((tmp_path / "kept").glob("*.png"))) == 30


def test_fid_as_json_and_quiet(tmp_path: Path, faces: Faces) -> None:
    a, b = (write_images(tmp_path / name, faces[0][part]) for name, part in (("a", slice(30)), ("b", slice(30, 60))))
    out = run("fid", a, b, "--json", "--quiet", "--no-kid")
    assert out.exit_code == 0 and out.stderr == ""
    value = json.loads(out.stdout)
    assert value["metric"] == "fid" and value["fid"] > 0 and value["kid"] is None
    assert value["generated"]["n"] == value["real"]["n"] == 30 and value["warnings"] == []
    assert value["real"]["versions"]["torch-fidelity"]


def test_reconstruction(tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}", encoding="utf-8")
    out = run("reconstruction", tmp_path / "model", data, "--num", 20)
    assert out.exit_code == 0, out.stderr
    assert out.stdout.startswith("PSNR       38.588 dB") and "N 20" in out.stdout and "rFID" not in out.stdout
    assert "rFID is left out" in out.stderr
    (tmp_path / "weights.pth").touch()
    out = run("reconstruction", tmp_path / "model", data, "--json", "--inception-weights", tmp_path / "weights.pth")
    value = json.loads(out.stdout)
    assert value["rfid"] > 0 and value["n"] == 60 and value["psnr"] == pytest.approx(38.588, abs=1e-3)


def test_statistics(tmp_path: Path, faces: Faces) -> None:
    data, file = write_dataset(tmp_path / "data", *faces), tmp_path / "s.safetensors"
    out = run("stats", f"{data}:valid", "-o", file)
    assert (out.exit_code, out.stdout) == (0, f"{file}\n")
    assert run("stats", data, "-o", file).exit_code == 2
    assert run("stats", data, "-o", file, "--force").exit_code == 0
    assert run("stats", data, "-o", tmp_path / "s.npz").exit_code == 2
    out = run("fid", "--num", 20, "--json", data, file)
    assert out.exit_code == 0 and json.loads(out.stdout)["kid"] is None
    out = run("fid", data, file)
    assert "KID is left out" in out.stderr and "KID" not in out.stdout


def test_errors_are_one_sentence(tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    (tmp_path / "cut.safetensors").write_bytes(b"12345")
    for words, code in (
        (("fid", tmp_path / "none", data), 2),
        (("fid", data, tmp_path / "cut.safetensors"), 1),
        (("fid", data, data, "--num", 61), 1),
        (("reconstruction", data, data), 2),
    ):
        out = run(*words)
        assert out.exit_code == code and out.stdout == ""
        assert out.stderr.startswith("error: ") and len(out.stderr.splitlines()) == 1


def test_a_figure_says_how_the_faces_were_guided_and_whether_they_were_corrected() -> None:
    from celebgen_cli.cli.evaluate_common import side

    settings = {"guidance": 4.5, "guidance_interval": [0.3, 0.8], "pag": True, "calibrate": False}
    line = side({"source": "m", "n": 5, "settings": settings})
    assert line.endswith("guidance 4.5, guidance interval 0.3 to 0.8, pag, not calibrated")
    settings = {"guidance": 4.5, "guidance_interval": [0.0, 1.0], "pag": False}
    assert side({"source": "m", "n": 5, "settings": settings}).endswith("crop unknown, guidance 4.5")
