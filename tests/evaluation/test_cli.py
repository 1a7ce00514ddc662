"""`celebgen evaluate`: results on stdout, the rest on stderr, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from celebgen_cli.cli import app
from celebgen_cli.evaluation import compare as module
from tests.command import one_sentence
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
    own = tmp_path / "own" / "000003.png"
    own.parent.mkdir()
    Image.new("RGB", (9, 9)).save(own)
    before = own.read_bytes()
    out = run("fid", "--num", 30, "--save", own.parent)
    assert out.exit_code == 2 and f"would overwrite {own}, which celebgen did not make" in out.stderr
    assert [path.name for path in own.parent.iterdir()] == [own.name] and own.read_bytes() == before
    listed = tmp_path / "lists" / "prompts.txt"
    listed.parent.mkdir()
    listed.write_text("a list of my own\n")
    out = run("fid", "--num", 30, "--save", listed.parent)
    assert out.exit_code == 2 and f"would overwrite {listed}, which lists other prompts" in out.stderr
    assert listed.read_text() == "a list of my own\n"


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
    assert out.stdout.startswith("PSNR       38.588 +/- 0") and "N 20" in out.stdout and "rFID" not in out.stdout
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


def test_kid_and_precision_and_recall(tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    out = run("kid", "--num", 30, f"{data}:valid", data)
    assert out.exit_code == 0, out.stderr
    lines = out.stdout.splitlines()
    assert lines[0].startswith("KID ") and "100 subsets of 30" in lines[0] and lines[1].startswith("floor      KID ")
    assert "no more than the 1,000 of a subset of KID" in out.stderr and "FID" not in out.stdout
    assert "+/-" not in out.stdout  # every subset is all of the 30: they do not say how KID varies
    out = run("prc", "--num", 8, f"{data}:valid", write_dataset(tmp_path / "few", *(part[:10] for part in faces)))
    assert out.exit_code == 0 and out.stdout.startswith("precision"), out.stderr
    assert "the floor is left out" in out.stderr and "too few images" in out.stderr
    out = run("prc", data, data, "--quiet")
    lines = out.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "precision", "recall", "f", "density", "coverage", "floor", "between", "features", "generated", "real", "tools",
    ]  # fmt: skip
    assert lines[0].split()[1] == lines[1].split()[1] == "1.0000" and lines[7] == "features   stub, layer 16"
    assert lines[5].startswith("floor      precision 0.") and lines[6].endswith("N 30 and 30") and out.stderr == ""
    value = json.loads(run("prc", data, data, "--no-floor", "--json").stdout)
    assert (value["metric"], value["neighbors"], value["coverage_neighbors"], value["floor"]) == ("prc", 3, 5, None)


@pytest.mark.parametrize("command", ["fid", "kid", "prc", "attributes", "text"])
@pytest.mark.parametrize(
    ("option", "values"),
    [("--steps", (3,)), ("--negative", ("hat",)), ("--guidance-interval", (0, 1)), ("--save", ("x",))],
)
def test_what_would_do_nothing_is_refused(
    tmp_path: Path, faces: Faces, command: str, option: str, values: tuple[object, ...]
) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    folder = write_images(tmp_path / "images", faces[0][:10])
    out = run(command, folder, data, option, *values)
    assert f"{option} is for a model that draws, and {folder} holds faces" in one_sentence(out, 2)
    assert not Path("x").exists()


def test_statistics_are_of_all_their_images(tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    assert run("stats", data, "-o", tmp_path / "s.safetensors").exit_code == 0
    assert "--num is for images" in one_sentence(run("fid", tmp_path / "s.safetensors", data, "-n", 20), 2)


def test_several_sampling_seeds(tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    words = ("--num", 20, "--json", "--quiet", "--no-floor")
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}", encoding="utf-8")
    value = json.loads(run("fid", model, data, "--repeats", 3, "--seed", 5, "--save", tmp_path / "kept", *words).stdout)
    alone = [json.loads(run("fid", model, data, "--seed", seed, *words).stdout) for seed in (5, 25, 45)]
    assert value["spread"]["seeds"] == [5, 25, 45]
    assert value["spread"]["fid"]["values"] == pytest.approx([one["fid"] for one in alone], rel=1e-9)
    assert value["fid"] == pytest.approx(np.mean([one["fid"] for one in alone]), rel=1e-9)
    assert value["spread"]["kid"]["deviation"] == pytest.approx(np.std([one["kid"] for one in alone], ddof=1), rel=1e-6)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["seed-25", "seed-45", "seed-5"]
    out = run("fid", model, data, "--repeats", 2, "--num", 20)
    assert "over 2 sets (seeds 0, 20)" in out.stdout.splitlines()[0]
    out = run("fid", data, data, "--repeats", 2)
    assert out.exit_code == 2 and "--repeats draws other faces" in out.stderr


def test_the_floor_by_other_real_images_and_by_statistics(tmp_path: Path, faces: Faces) -> None:
    images, attributes = faces
    data = write_dataset(tmp_path / "data", images[:40], attributes[:40])
    others, file = write_images(tmp_path / "others", images[40:]), tmp_path / "s.safetensors"
    value = json.loads(run("fid", data, data, "--num", 20, "--floor", others, "--json").stdout)
    assert any(sentence.startswith("of the floor: N differs (20 and 40)") for sentence in value["warnings"])
    apart = json.loads(run("fid", others, data, "--no-floor", "--json").stdout)
    assert value["floor"]["fid"] == pytest.approx(apart["fid"], rel=1e-9)
    assert (value["floor"]["n"], value["floor"]["n_real"], value["floor"]["sets"]) == (20, 40, "others and data:valid")
    assert run("stats", data, "-o", file).exit_code == 0
    told = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert told["floor"]["n"] == 20 and told["network"] == "stub" and told["crop"] == "face178" and told["size"] == 32
    carried = json.loads(run("fid", others, file, "--json").stdout)["floor"]
    assert carried["fid"] == told["floor"]["fid"] and "extrapolated" in carried
    assert run("stats", data, "-o", file, "--force", "--no-floor").exit_code == 0
    assert "the floor is left out" in run("fid", others, file).stderr


def test_what_a_reference_lacks_is_said_before_anything_is_drawn(
    tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.safetensors"
    assert run("stats", write_dataset(tmp_path / "data", *faces), "-o", file).exit_code == 0
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(module, "load_pipeline", lambda word, device: pytest.fail("the model was loaded first"))
    for metric in ("kid", "prc"):
        out = run(metric, tmp_path / "model", file)
        assert out.exit_code == 1 and "needs the features of every image" in out.stderr
    monkeypatch.setattr(module, "load_inception", lambda *args, **kwargs: StubExtractor(1))
    out = run("fid", tmp_path / "model", file)
    assert out.exit_code == 1 and "other Inception weights" in out.stderr


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
