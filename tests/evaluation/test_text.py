"""CLIP score and R-precision by hand, with prompts of every origin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.captions import CaptionSource, is_true_of
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation import text as module
from celebgen_cli.evaluation.clips import Clip
from celebgen_cli.evaluation.sources import ImageFiles
from celebgen_cli.evaluation.text import Asked, asked_of, clip_scores, distractors_of, first_of, shuffled_score
from celebgen_cli.images import encode_png
from tests.command import invoke, one_sentence
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


def seeing() -> Clip:
    """A CLIP to which an image is its top left pixel, and a text its number of characters."""

    def images(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels[:, 0, 0].astype(np.float32) + 1)

    def texts(prompts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[len(prompt), 50.0, 60.0] for prompt in prompts])

    return Clip("seeing", "c" * 64, 3, images, texts, {})


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_clip", lambda model, word, device: seeing())
    monkeypatch.setattr(compare, "load_pipeline", lambda word, device: FakeModel())


def unit(*shape: int) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_scores_by_hand() -> None:
    images, texts = unit(40, 5), unit(80, 5)[40:]
    cosines = images.astype(np.float64) @ texts.T
    np.testing.assert_allclose(clip_scores(images, texts), 100 * np.maximum(np.diag(cosines), 0), atol=1e-6)
    others = np.maximum(cosines, 0)[~np.eye(40, dtype=bool)]
    assert shuffled_score(images, texts) == pytest.approx(100 * others.mean(), abs=1e-6)
    assert shuffled_score(images[:1], texts[:1]) == pytest.approx(0, abs=1e-9)


def test_equal_prompts_are_no_strangers_to_each_other() -> None:
    vectors = np.eye(2, dtype=np.float32).repeat(2, axis=0)  # four perfect faces of two prompts
    assert shuffled_score(vectors, vectors, ["man", "man", "woman", "woman"]) == 0
    assert shuffled_score(vectors, vectors) == pytest.approx(100 / 3)
    assert shuffled_score(vectors, vectors, ["man"] * 4) == 0


def test_own_prompt_first() -> None:
    vectors = np.eye(6, dtype=np.float32)
    prompts = Asked([f"face {i}" for i in range(6)])
    rows, kind = distractors_of(prompts, 4, seed=0)
    assert rows.shape == (6, 3) and kind == "other" and not (rows == np.arange(6)[:, None]).any()
    np.testing.assert_array_equal(first_of(vectors, vectors, rows), 1)
    np.testing.assert_array_equal(first_of(vectors, np.ones_like(vectors), rows), 0.25)  # four are equally near
    np.testing.assert_array_equal(first_of(np.roll(vectors, 1, axis=0), vectors, distractors_of(prompts, 9, 0)[0]), 0)


def test_vectors_that_know_nothing_find_it_by_chance() -> None:
    images, texts = unit(1500, 8), unit(3000, 8)[1500:]
    rows, _ = distractors_of(Asked([str(i) for i in range(1500)]), 10, seed=1)
    assert first_of(images, texts, rows).mean() == pytest.approx(0.1, abs=0.025)
    large = np.concatenate([rows, rows])  # the way for many faces gives the same
    twice = first_of(np.tile(images, (2, 1)), np.tile(texts, (2, 1)), large)
    np.testing.assert_array_equal(twice[:1500], first_of(images, texts, rows))


def test_distractors_contradict_the_face(faces: Faces) -> None:
    asked = asked_of(CaptionSource(faces[1]), 90, seed=2)
    assert asked.named is not None and asked.attributes is not None
    np.testing.assert_array_equal(asked.attributes[60:], faces[1][:30])
    rows, kind = distractors_of(asked, 5, seed=2)
    assert kind == "contradicting"
    for i in range(90):
        assert is_true_of(asked.named[i], asked.attributes[i])
        assert not is_true_of(asked.named[rows[i]], asked.attributes[i]).any()
        assert len({asked.prompts[row] for row in rows[i]}) == 4
    np.testing.assert_array_equal(rows, distractors_of(asked, 5, seed=2)[0])
    assert (rows != distractors_of(asked, 5, seed=3)[0]).any()
    with pytest.raises(UsageError, match="prompts that differ"):
        distractors_of(Asked(["the same"] * 5), 5, 0)


def test_a_model(stand_ins: None, tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    arguments = ("evaluate", "text", tmp_path / "m", data, "-n", 30, "--candidates", 7, "--seed", 4, "--steps", 3)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}", encoding="utf-8")
    out = invoke(*arguments, "--json")
    assert out.exit_code == 0, out.stderr
    value = json.loads(out.stdout)
    asked, clip = asked_of(CaptionSource(faces[1]), 30, 4), seeing()
    drawn = clip(FakeModel().sample(asked.prompts, list(range(4, 34))))
    texts = clip.texts(asked.prompts)
    assert value["score"] == pytest.approx(float(clip_scores(drawn, texts).mean()), rel=1e-6)
    assert value["score_real"] == pytest.approx(float(clip_scores(clip(faces[0][:30]), texts).mean()), rel=1e-6)
    rows = distractors_of(asked, 7, 4)[0]
    assert value["r_precision"] == pytest.approx(float(first_of(drawn, texts, rows).mean()))
    assert (value["candidates"], value["chance"], value["distractors"]) == (7, 1 / 7, "contradicting")
    assert value["clip"] == "seeing" and value["generated"]["settings"]["steps"] == 3 and value["real"] == "data:valid"
    words = invoke(*arguments)
    assert words.stdout.startswith("CLIP score   ") and "first among 7, the others that contradict it" in words.stdout
    assert "seeing, sha256 cccccccccccc" in words.stdout


def test_statistics_of_pictures_that_nothing_is_known_of(
    stand_ins: None, tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch, extractor: StubExtractor
) -> None:
    """The captions are then those of the statistics that ship, and there is no photograph to compare with."""
    monkeypatch.setattr(compare, "load_extractor", lambda *given: extractor)
    folder, file = write_images(tmp_path / "plain", faces[0][:20]), tmp_path / "s.safetensors"
    assert invoke("evaluate", "stats", folder, "-o", file).exit_code == 0
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}", encoding="utf-8")
    refused = one_sentence(invoke("evaluate", "text", tmp_path / "m", folder), 2)
    assert "has neither attributes nor captions to draw faces for" in refused
    out = invoke("evaluate", "text", tmp_path / "m", file, "-n", 12, "--json", "-q")
    assert out.exit_code == 0, out.stderr
    value = json.loads(out.stdout)
    assert value["n"] == 12 and value["real"] is None and value["score_real"] is None


def test_prompts_of_pictures(stand_ins: None, tmp_path: Path, faces: Faces) -> None:
    folder = write_images(tmp_path / "plain", faces[0][:4])
    ask = ("evaluate", "text", folder, "--json", "-q")
    assert "do not say what they show" in one_sentence(invoke(*ask), 2)
    (tmp_path / "p.txt").write_text("a\nbb\nccc\ndddd\n", encoding="utf-8")
    told = json.loads(invoke(*ask, "--prompts", tmp_path / "p.txt").stdout)
    assert (told["n"], told["candidates"], told["distractors"], told["real"]) == (4, 4, "other", None)
    (tmp_path / "three.txt").write_text("a\nbb\nccc\n", encoding="utf-8")
    assert "3 lines" in one_sentence(invoke(*ask, "--prompts", tmp_path / "three.txt"), 2)
    assert "cannot be read" in one_sentence(invoke(*ask, "--prompts", tmp_path / "none.txt"), 1)
    (tmp_path / "odd.txt").write_bytes("\ufeffa\r\nbb\r\nccc\r\ndd\u2028dd\r\n".encode())
    assert "4 images" not in invoke(*ask, "--prompts", tmp_path / "odd.txt").stderr  # lines as `sample` reads them
    assert module._lines(tmp_path / "odd.txt", ImageFiles(folder), 4) == ["a", "bb", "ccc", "dd\u2028dd"]
    (folder / "prompts.txt").write_text("a\nbb\nccc\ndddd\n", encoding="utf-8")
    assert json.loads(invoke(*ask).stdout)["score"] == told["score"]
    made = tmp_path / "made"
    made.mkdir()
    for i, text in enumerate(("a", "bb", "ccc", "dddd")):
        (made / f"{i}.png").write_bytes(encode_png(faces[0][i], metadata={"prompt": text}))
    assert json.loads(invoke("evaluate", "text", made, "--json", "-q").stdout)["score"] == told["score"]
    assert ImageFiles(made).names == ["0.png", "1.png", "2.png", "3.png"]


def test_photographs_and_what_is_refused(stand_ins: None, tmp_path: Path, faces: Faces) -> None:
    data = write_dataset(tmp_path / "data", *faces)
    value = json.loads(invoke("evaluate", "text", data, "--json", "-q", "-n", 20).stdout)
    assert value["n"] == 20 and value["distractors"] == "contradicting" and value["score_real"] is None
    assert "at least 2" in one_sentence(invoke("evaluate", "text", data, "-k", 1), 2)
    assert "nothing is done with nosuch; leave it out" in one_sentence(invoke("evaluate", "text", data, "nosuch"), 2)
    assert "61 were asked" in one_sentence(invoke("evaluate", "text", data, "-n", 61), 1)
    (tmp_path / "s.safetensors").touch()
    assert "faces are needed" in one_sentence(invoke("evaluate", "text", tmp_path / "s.safetensors"), 2)
    with pytest.raises(CelebgenError):
        module.evaluate_text(str(tmp_path / "none"), None, compare.Options())
