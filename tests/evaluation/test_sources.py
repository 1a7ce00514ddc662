"""Where images come from: the same pixels from a folder, a zip and a split; a model's images by caption and seed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.data.captions import is_true_of
from celebgen_cli.data.texts import write_texts
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.sources import (
    ImageFiles,
    ModelImages,
    SplitImages,
    captions_for,
    kind_of,
    open_images,
    split_name,
)
from tests.evaluation.conftest import FakeModel, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


def everything(source: object, count: int, batch_size: int) -> np.ndarray:
    return np.concatenate(list(source.batches(count, batch_size)))  # type: ignore[attr-defined]


def test_folder_zip_and_split_give_the_same_pixels(tmp_path: Path, faces: Faces) -> None:
    images, attributes = faces[0][:12], faces[1][:12]
    folder = write_images(tmp_path / "images", images)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"deep/er/{file.name}")
    data = write_dataset(tmp_path / "data", images, attributes, "train")
    for word, kind in ((folder, "folder"), (tmp_path / "images.zip", "zip"), (f"{data}:train", "dataset")):
        source = open_images(str(word))
        assert (source.kind, kind_of(str(word)), len(source), source.size) == (kind, kind, 12, 32)
        assert not source.lossy
        np.testing.assert_array_equal(everything(source, 11, 4), images[:11])
        assert source.fingerprint() == open_images(str(word)).fingerprint()
    with pytest.raises(UsageError, match="valid"):
        open_images(str(data))


def test_images_of_two_sizes(tmp_path: Path, faces: Faces) -> None:
    folder = write_images(tmp_path / "images", faces[0][:3])
    Image.new("RGB", (40, 32)).save(folder / "grid.png")
    with pytest.raises(CelebgenError, match="grid.png .* 40x32 .* 32x32"):
        everything(ImageFiles(folder), 4, 2)


def test_file_that_is_no_image(tmp_path: Path, faces: Faces) -> None:
    folder = write_images(tmp_path / "images", faces[0][:3])
    (folder / "notes.txt").write_text("not counted", encoding="utf-8")
    assert len(ImageFiles(folder)) == 3
    (folder / "0002.png").write_bytes((folder / "0002.png").read_bytes()[:90])
    with pytest.raises(CelebgenError, match="0002.png"):
        everything(ImageFiles(folder), 3, 2)


def test_lossy_formats_are_noticed(tmp_path: Path, faces: Faces) -> None:
    folder = write_images(tmp_path / "images", faces[0][:3])
    Image.fromarray(faces[0][4]).save(folder / "a.JPG")
    assert ImageFiles(folder).lossy


def test_what_a_file_holds_decides_not_its_name(tmp_path: Path, faces: Faces) -> None:
    profile = {"icc_profile": bytes(400)}
    for name, form, more, lossy in (
        ("webp-profile", "WEBP", {"lossless": True, **profile}, False), ("webp-both", "WEBP", {**profile}, True),
        ("webp-moving", "WEBP", {"lossless": True, "save_all": True, "append_images": [Image.new("RGB", (32, 32))]},
         False),
        ("jpeg", "JPEG", {}, True), ("png", "PNG", {}, False), ("webp", "WEBP", {"lossless": True}, False),
        ("webp-lossy", "WEBP", {"quality": 90}, True),
    ):  # fmt: skip
        folder = write_images(tmp_path / name, faces[0][:3])
        Image.fromarray(faces[0][5]).save(folder / "0001.png", form, **more)
        source = ImageFiles(folder)
        source.fingerprint()
        assert source.lossy == lossy
        source = ImageFiles(folder)
        everything(source, 3, 2)
        assert source.lossy == lossy


def test_words_that_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x", encoding="utf-8")
    for word in (str(tmp_path / "none"), str(tmp_path / "x.txt")):
        with pytest.raises(UsageError):
            kind_of(word)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CelebgenError, match="no image"):
        open_images(str(tmp_path / "empty"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}", encoding="utf-8")
    assert kind_of(str(tmp_path / "model")) == "model"
    with pytest.raises(UsageError, match="is a model"):
        open_images(str(tmp_path / "model"))


def test_sample_grids_of_a_run_are_no_faces(tmp_path: Path, faces: Faces) -> None:
    run = tmp_path / "run"
    write_images(run / "samples", faces[0][:3])
    (run / "config.json").write_text('{"format": "celebgen-run"}')
    with pytest.raises(UsageError, match="is a training run; make a model of it with `celebgen export`"):
        open_images(str(run))
    for other in ("{", "[]", '{"format": "mine"}'):
        (run / "config.json").write_text(other)
        assert len(open_images(str(run))) == 3


def test_split_names(tmp_path: Path) -> None:
    assert split_name(f"{tmp_path}:train") == (tmp_path, "train")
    assert split_name(str(tmp_path)) == (tmp_path, "valid")
    assert split_name("none:train") == (Path("none:train"), "valid")


def test_captions_are_true_of_their_rows_and_repeatable(faces: Faces) -> None:
    from celebgen_cli.data.captions import describe

    attributes = faces[1][:20]
    prompts = captions_for(attributes, 50, seed=3)
    assert prompts == captions_for(attributes, 50, seed=3) != captions_for(attributes, 50, seed=4)
    assert prompts[:9] == captions_for(attributes, 9, seed=3)
    for i in (0, 7, 45):
        caption = describe(attributes[i % 20], np.random.default_rng((3, i)))
        assert caption.text == prompts[i] and is_true_of(caption.named, attributes[i % 20])


def test_captions_of_a_split_are_its_own_where_attributes_are_unknown(tmp_path: Path, faces: Faces) -> None:
    images, attributes = faces[0][:4], faces[1][:4].copy()
    attributes[2:] = 0
    data = write_dataset(tmp_path / "data", images, attributes)
    write_texts(data / "valid", "captions", [["a"], ["b"], ["c", "d"], []])
    source = open_images(str(data))
    assert isinstance(source, SplitImages) and source.captions is not None
    assert source.attributes is None  # statistics have no word for what is unknown
    prompts = captions_for(source.captions, 40, seed=3)
    assert prompts[:2] == captions_for(attributes[:2], 2, seed=3)  # the grammar speaks where it can
    assert set(prompts[2::4]) == {"c", "d"} and set(prompts[3::4]) == {""}
    assert ModelImages(FakeModel(), source.captions, 40, seed=3).prompts == prompts
    known = open_images(str(write_dataset(tmp_path / "known", images, faces[1][:4])))
    np.testing.assert_array_equal(known.attributes, faces[1][:4])
    silent = open_images(str(write_dataset(tmp_path / "silent", images, np.zeros((4, 40)))))
    assert isinstance(silent, SplitImages) and silent.captions is None
    with pytest.raises(UsageError, match="the reference has none"):
        captions_for(np.zeros((4, 40), dtype=np.int8), 3, 0)


def test_model_draws_the_same_images_at_any_batch_size(tmp_path: Path, faces: Faces) -> None:
    def source(save: Path | None = None) -> ModelImages:
        return ModelImages(FakeModel(), faces[1][:6], 10, seed=4, settings={"steps": 3, "guidance": None}, save=save)

    whole = everything(source(), 10, 10)
    np.testing.assert_array_equal(everything(source(tmp_path / "kept"), 10, 3), whole)
    kept = ImageFiles(tmp_path / "kept")
    np.testing.assert_array_equal(everything(kept, len(kept), 4), whole)
    prompts = (tmp_path / "kept" / "prompts.txt").read_text(encoding="utf-8").splitlines()
    assert prompts == source().prompts and len(prompts) == 10


def test_settings_say_what_was_in_force(faces: Faces) -> None:
    model = FakeModel()
    source = ModelImages(model, faces[1], 2, seed=4, settings={"steps": 3, "guidance": None, "negative": "hat"})
    everything(source, 2, 2)
    assert model.asked == [{"batch_size": 2, "steps": 3, "negative": "hat"}]
    assert source.settings() == {
        "sampler": "ddim", "steps": 3, "guidance": 2.0, "negative": "hat", "precision": "fp32", "seed": 4,
        "model_sha256": "f" * 64,
    }  # fmt: skip
