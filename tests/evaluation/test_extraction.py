"""Features are extracted once: a run that was interrupted or killed goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import extraction
from celebgen_cli.evaluation.cache import cache_folder
from celebgen_cli.evaluation.extraction import features_of, missing
from celebgen_cli.evaluation.sources import ImageFiles, ModelImages, open_images
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


class Interrupted(StubExtractor):
    """Is interrupted when it has seen `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self.seen >= self.most:
            raise KeyboardInterrupt
        return super().__call__(images)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART", 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sha256", "e" * 64), ("precision", "bf16"), ("device", torch.device("meta")), ("description", {"schedule": {}})],
)
def test_whatever_decides_a_face_is_in_its_fingerprint(
    faces: Faces, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    model = FakeModel()
    before = drawn(faces, 4, model).fingerprint()
    assert drawn(faces, 4, FakeModel()).fingerprint() == before
    monkeypatch.setattr(model, name, value, raising=False)
    assert drawn(faces, 4, model).fingerprint() != before


def test_seeds_alone_are_in_it_too(faces: Faces) -> None:
    same = np.repeat(faces[1][:1], 2, axis=0)
    sets = [ModelImages(FakeModel(), same, 2, seed=seed, settings={"steps": 5}) for seed in (3, 4)]
    for one in sets:
        one.prompts = ["man", "man"]
    assert sets[0].fingerprint() != sets[1].fingerprint()


def drawn(faces: Faces, count: int = 50, model: FakeModel | None = None, **more: Any) -> ModelImages:
    return ModelImages(model or FakeModel(), faces[1], count, **{"seed": 3, "settings": {"steps": 5}, **more})


def test_what_a_model_drew_before_it_was_interrupted_is_not_drawn_again(faces: Faces) -> None:
    whole = features_of(drawn(faces), StubExtractor(), cache=False)
    with pytest.raises(KeyboardInterrupt):
        features_of(drawn(faces), Interrupted(28), batch_size=4)
    assert missing(drawn(faces), StubExtractor()) == 50 - 28
    model, extractor, told = FakeModel(), StubExtractor(), []
    again = features_of(drawn(faces, model=model), extractor, batch_size=4, progress=lambda *a: told.append(a))
    np.testing.assert_array_equal(again, whole)
    assert extractor.seen == 22 and sum(asked["batch_size"] for asked in model.asked) == 22
    assert told[0] == (28, 50) and told[-1] == (50, 50)
    assert not missing(drawn(faces), extractor) and len(list((cache_folder() / "features").iterdir())) == 4


def test_a_killed_process_has_stored_what_it_did(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    store, dead = extraction.store_features, []
    monkeypatch.setattr(extraction, "STORE_EVERY", 0.0)
    monkeypatch.setattr(extraction, "store_features", lambda *a: None if dead else store(*a))

    class Killed(Interrupted):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            dead.extend([True] * (self.seen >= self.most))  # from here on nothing is written any more
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        features_of(drawn(faces), Killed(24), batch_size=4)
    assert missing(drawn(faces), StubExtractor()) == 50 - 24


def test_more_images_of_the_same_set_cost_only_those(tmp_path: Path, faces: Faces) -> None:
    for source in (open_images(str(write_dataset(tmp_path / "data", *faces))),
                   ImageFiles(write_images(tmp_path / "files", faces[0][::-1]))):  # fmt: skip
        extractor = StubExtractor()
        first = features_of(source, extractor, 25)
        longer = features_of(source, extractor, 45)
        assert extractor.seen == 45
        np.testing.assert_array_equal(longer[:25], first)
        np.testing.assert_array_equal(features_of(source, extractor, 30), longer[:30])
        assert extractor.seen == 45


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"settings": {"steps": 6}}, {"settings": {"steps": 5, "negative": "hat"}}, "weights", "prompts",
     "code"],
)  # fmt: skip
def test_another_drawing_is_another_entry(faces: Faces, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    features_of(drawn(faces, 20), StubExtractor())
    assert not missing(drawn(faces, 20), StubExtractor())
    more = change if isinstance(change, dict) else {}
    model = FakeModel()
    if change == "weights":
        model.sha256 = "e" * 64  # type: ignore[misc]
    if change == "code":
        monkeypatch.setattr("celebgen_cli.evaluation.drawn.drawing_code", lambda: "changed")
    rows = faces[1][::-1] if change == "prompts" else faces[1]
    source = ModelImages(model, rows, 20, **{"seed": 3, "settings": {"steps": 5}, **more})
    assert missing(source, StubExtractor()) == 20


def test_a_kept_folder_is_gone_on_with_and_filled(tmp_path: Path, faces: Faces) -> None:
    from celebgen_cli.images import read_metadata

    expected = np.concatenate(list(drawn(faces, 20).batches(20, 8)))
    model = FakeModel()
    with pytest.raises(KeyboardInterrupt):
        features_of(drawn(faces, 20, model, save=tmp_path / "kept"), Interrupted(8), batch_size=4, cache=False)
    assert len(list((tmp_path / "kept").glob("*.png"))) == 12
    model.asked.clear()
    source = drawn(faces, 20, model, save=tmp_path / "kept")
    features_of(source, StubExtractor(), batch_size=4)  # without features of theirs, the pictures are read
    assert sum(asked["batch_size"] for asked in model.asked) == 8
    np.testing.assert_array_equal(np.concatenate(list(ImageFiles(tmp_path / "kept").batches(20, 8))), expected)
    (tmp_path / "kept" / "000004.png").unlink()
    write_images(tmp_path / "other", faces[0][:1])
    (tmp_path / "other" / "0000.png").replace(tmp_path / "kept" / "000011.png")
    model.asked.clear()
    with pytest.raises(UsageError, match=r"would overwrite .*000011\.png, which celebgen did not make"):
        drawn(faces, 20, model, save=tmp_path / "kept")
    assert not model.asked
    (tmp_path / "kept" / "000011.png").write_bytes((tmp_path / "kept" / "000012.png").read_bytes())
    source.save_all(20, 4)  # what is cached but not in the folder, or is another face
    assert sum(asked["batch_size"] for asked in model.asked) == 2
    np.testing.assert_array_equal(np.concatenate(list(ImageFiles(tmp_path / "kept").batches(20, 8))), expected)
    metadata = read_metadata(tmp_path / "kept" / "000011.png")
    assert metadata["seed"] == 14 and metadata["prompt"] == source.prompts[11] and metadata["steps"] == 5


def test_a_source_that_cannot_be_taken_up_is_read_in_one_go(faces: Faces) -> None:
    class Once:
        label = "once"

        def __len__(self) -> int:
            return 20

        def batches(self, count: int, batch_size: int) -> Any:
            yield faces[0][:count]

    for _ in range(2):
        extractor = StubExtractor()
        np.testing.assert_array_equal(features_of(Once(), extractor), StubExtractor()(faces[0][:20]))  # type: ignore[arg-type]
        assert extractor.seen == 20
    assert not cache_folder().exists()
