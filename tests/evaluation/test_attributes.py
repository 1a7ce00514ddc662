"""`evaluate attributes` as a whole: models that obey or do not, folders, the cache, worst prompts, the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from celebgen_cli.cli import app
from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import read_caption
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import attributes as module
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.options import Options
from celebgen_cli.images import encode_png
from tests.evaluation.conftest import FakeModel, write_dataset
from tests.faces import random_attributes

SURE = 0.9


def pictures(labels: np.ndarray) -> np.ndarray:
    """Faces uint8 [N, 32, 32, 3] whose first 40 pixels are attributes: white where present, black where absent."""
    images = np.full((len(labels), 32, 32, 3), 100, np.uint8)
    images.reshape(len(labels), -1, 3)[:, :40] = np.where(labels > 0, 255, 0)[..., None]
    return images


class Reader:
    """A judge that reads such pictures, and is wrong about smiles."""

    name, layer, dimensions, weights_sha256, source = "judge", "probabilities", 40, "a" * 64, "reader"

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        sure = np.where(images.reshape(len(images), -1, 3)[:, :40, 0] > 127, SURE, 1 - SURE).astype(np.float32)
        sure[:, INDEX["Smiling"]] = 1 - sure[:, INDEX["Smiling"]]
        return sure


class Painter(FakeModel):
    """Draws what the prompt says, or what some other face has, and anything else by luck."""

    def __init__(self, obeys: bool) -> None:
        super().__init__()
        self.obeys = obeys

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], **settings: Any) -> np.ndarray:
        self.asked.append(settings)
        rows = np.stack([random_attributes(np.random.default_rng(seed)) for seed in seeds])
        said = np.stack([read_caption(prompt) for prompt in prompts])
        return pictures(np.where((said != 0) & self.obeys, said, rows))


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    rng = np.random.default_rng(3)
    labels = np.stack([random_attributes(rng) for _ in range(120)])
    return str(write_dataset(tmp_path / "data", pictures(labels), labels))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr(module, "open_judge", lambda *args: made)
    return made


def use(monkeypatch: pytest.MonkeyPatch, obeys: bool) -> Painter:
    painter = Painter(obeys)
    monkeypatch.setattr(compare, "load_pipeline", lambda word, device: painter)
    return painter


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "attributes", *map(str, words)])


def test_an_obedient_model_reaches_the_ceiling(dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, True)
    result = module.evaluate_attributes(None, dataset, Options(num=480)).to_dict()
    assert result["faces"] == 480 and 60 < result["alone"] <= 80 and result["n"] == 480 - result["alone"]
    # nothing is wrong but smiles, on both sides alike; a few phrases are read otherwise than they were meant
    assert result["hit"] < 1 and result["hit"] == pytest.approx(result["ceiling"], abs=0.005)
    assert result["obedience"] == pytest.approx(1, abs=0.02) and result["floor"] < 0.8
    smiles = result["attributes"]["Smiling"]
    assert smiles["present"]["hit"] == smiles["present"]["ceiling"] == 0
    assert result["attributes"]["Eyeglasses"]["present"]["hit"] == 1
    low, high = result["attributes"]["Eyeglasses"]["present"]["hit_interval"]
    assert 0.4 < low < high == pytest.approx(1)
    assert set(result["attributes"]) == set(ATTRIBUTES) and set(result["sizes"]) == {"1", "2", "3", "4"}
    assert result["wordings"]["plain"]["n"] == pytest.approx(result["wordings"]["paraphrase"]["n"], abs=1)
    assert result["named_as"]["absent"]["named"] > 100
    assert result["judge"]["accuracy"] == pytest.approx(39 / 40)
    assert all("Smiling" in missed.removeprefix("not ") for one in result["worst"] for missed in one["missed"])
    json.dumps(result, allow_nan=False)


def test_a_model_that_does_not_listen_stays_on_the_floor(
    dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, False)
    result = module.evaluate_attributes(None, dataset, Options(num=390)).to_dict()
    assert result["obedience"] == pytest.approx(0, abs=0.1) and result["alone"] == 0
    low, high = result["obedience_interval"]
    assert low < 0.05 and high > -0.05 and low < result["obedience"] < high


def test_what_was_judged_is_not_drawn_again(
    dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    painter, options = use(monkeypatch, True), Options(num=20)
    first = module.evaluate_attributes(None, dataset, options)
    assert len(painter.asked) == 2 and judge.seen == 140
    assert module.evaluate_attributes(None, dataset, options) == first and judge.seen == 140 and len(painter.asked) == 2
    more = module.evaluate_attributes(None, dataset, Options(num=20, seed=1))
    assert more.total != first.total and judge.seen == 160
    module.evaluate_attributes(None, dataset, options, worst=tmp_path / "worst")
    assert judge.seen == 160  # the worst are drawn again, for the pictures' sake, and nobody judges them anew
    assert len(painter.asked) == 4 + len(first.worst)


def test_a_folder_says_its_prompts(dataset: str, judge: Reader, tmp_path: Path) -> None:
    folder, said = tmp_path / "faces", ["a man with a beard", "smiling woman without glasses", "bald woman with bangs"]
    folder.mkdir()
    for i, prompt in enumerate(said):
        face = pictures(read_caption(prompt)[None] * (-1 if i == 2 else 1))[0]
        (folder / f"{i}.png").write_bytes(encode_png(face, prompt, {"prompt": prompt, "seed": i}))
    result = module.evaluate_attributes(str(folder), dataset, Options(), worst=tmp_path / "worst").to_dict()
    assert result["faces"] == 3 and result["wordings"]["own"]["n"] == 3 and result["sizes"] == {}
    assert result["worst"][0]["prompt"] == "bald woman with bangs" and result["worst"][0]["hit"] == 0
    assert result["worst"][1]["missed"] == ["Smiling"] and len(result["worst"]) == 2
    assert len(result["warnings"]) == 1 and "1 of 3 prompts" in result["warnings"][0]
    assert Path(result["worst"][0]["path"]).name == "01-bald-woman-with-bangs.png"
    with Image.open(result["worst"][0]["path"]) as image:
        assert (np.asarray(image) == pictures(-read_caption("bald woman with bangs")[None])[0]).all()
    assert (tmp_path / "worst" / "worst.png").is_file()
    (folder / "3.png").write_bytes(encode_png(pictures(np.ones((1, 40)))[0]))
    out = run(folder, dataset, "-q")
    assert out.exit_code == 1 and "3.png has no celebgen metadata" in out.stderr


def test_a_folder_is_judged_by_what_sample_drew_and_by_other_prompts(
    dataset: str, judge: Reader, tmp_path: Path
) -> None:
    """Not by what captions would have meant; and many faces of one prompt are none of its other prompts."""
    said = [("man without a hat, bald", ""), ("not young woman", "bald")]
    shown = [{"Male": 1, "Bald": 1}, {}]
    for i in range(8):
        (prompt, negative), wanted = said[i // 4], shown[i // 4]
        row = np.array([[wanted.get(name, -1) for name in ATTRIBUTES]])
        if i == 3:
            row[0, ATTRIBUTES.index("Bald")] = -1
        metadata = {"prompt": prompt, "negative": negative, "seed": i}
        (tmp_path / f"{i}.png").write_bytes(encode_png(pictures(row)[0], prompt, metadata))
    result = module.evaluate_attributes(str(tmp_path), dataset, Options()).to_dict()
    bald = result["attributes"]["Bald"]
    assert (bald["present"]["hit"], bald["present"]["floor"]) == (0.75, 0)
    assert (bald["absent"]["hit"], bald["absent"]["floor"]) == (1, 0.25)
    assert all(result["attributes"][name]["absent"]["hit"] == 1 for name in ("Young", "Wearing_Hat"))
    low, high = result["hit_interval"]
    assert low < result["hit"] < high


def test_the_command(dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    painter = use(monkeypatch, True)
    out = run("--num", 40, "--steps", 9, "--guidance", 3, "--worst", tmp_path / "worst", "box", dataset)
    assert out.exit_code == 2 and "box" in out.stderr
    monkeypatch.setenv("CELEBGEN_DATASET", dataset)
    out = run("--num", 40, "--steps", 9, "--guidance", 3, "--worst", tmp_path / "worst")
    assert out.exit_code == 0, out.stderr
    assert out.stdout.startswith("obedience  ") and "way from floor to ceiling (95 %: " in out.stdout
    assert "fake, N 40, size 32, crop face178, sampler ddim, steps 9, guidance 3.0" in out.stdout
    assert "judge      reader, 97.5 % of its answers" in out.stdout and "missed: " in out.stdout
    assert out.stdout.split("named absent")[2].splitlines()[1].startswith(ATTRIBUTES)
    assert painter.asked[0] == {"steps": 9, "guidance": 3.0, "batch_size": 16}
    assert list((tmp_path / "worst").glob("01-*.png"))
    own = tmp_path / "own" / "worst.png"
    own.parent.mkdir()
    own.write_bytes(encode_png(np.zeros((9, 9, 3), np.uint8)))
    out = run("--num", 40, "--worst", own.parent)
    assert out.exit_code == 2 and f"--worst would overwrite {own}" in out.stderr
    again = run("--num", 40, "--steps", 9, "--guidance", 3, "--json", "--quiet")
    value = json.loads(again.stdout)
    assert again.stderr == "" and value["metric"] == "attributes" and value["settings"]["steps"] == 9


def test_what_cannot_be_judged(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, True)
    with pytest.raises(UsageError, match="no attribute judge"):
        monkeypatch.setattr("celebgen_cli.evaluation.judging.has_judge", lambda model: False)
        module.evaluate_attributes(None, dataset, Options(num=2))
    unknown = write_dataset(tmp_path / "unknown", pictures(np.ones((4, 40))), np.zeros((4, 40)))
    assert run("--num", 4, "--", Path(compare.__file__).parent.parent / "pretrained", unknown).exit_code == 2
    out = run()
    assert out.exit_code == 2 and "CELEBGEN_DATASET" in out.stderr
    out = run(dataset, dataset)
    assert out.exit_code == 2 and "is a dataset: name a model, or a folder" in out.stderr
