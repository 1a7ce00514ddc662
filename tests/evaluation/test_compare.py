"""What the words on the command line come to, and the figures that they give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare as module
from celebgen_cli.evaluation.compare import Listener, Options, compare, duration, make_statistics, open_real
from celebgen_cli.evaluation.fid import frechet_distance
from celebgen_cli.evaluation.sources import captions_for
from celebgen_cli.evaluation.statistics import Statistics, from_features, load_statistics
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


class Ears(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.last: dict[str, tuple[int, int]] = {}

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, label: str):  # type: ignore[no-untyped-def]
        return lambda done, total: self.last.update({label: (done, total)})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, extractor: StubExtractor) -> StubExtractor:
    """Inception is replaced by the small extractor."""
    monkeypatch.setattr(module, "load_inception", lambda *args, **kwargs: extractor)
    return extractor


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """Any model that is asked for is the fake one."""
    fake = FakeModel()
    monkeypatch.setattr(module, "load_pipeline", lambda word, device: fake)
    return fake


@pytest.fixture
def dataset(tmp_path: Path, faces: Faces) -> Path:
    return write_dataset(tmp_path / "data", *faces)


def test_model_in_the_box_against_the_dataset_in_the_environment(
    dataset: Path, stub: StubExtractor, model: FakeModel, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELEBGEN_DATASET", str(dataset))
    ears = Ears()
    result = compare(None, None, Options(batch_size=25, seed=3, sampling={"steps": 5, "sampler": None}), ears)
    images, attributes = faces
    drawn = FakeModel().sample(captions_for(attributes, 60, 3), range(3, 63))
    expected = frechet_distance(from_features(stub(drawn)), from_features(stub(images)))
    assert result.fid == pytest.approx(expected, rel=1e-6)
    assert result.kid is not None and result.kid_subset_size == 60
    assert result.generated["settings"] == {
        "sampler": "ddim", "steps": 5, "guidance": 2.0, "precision": "fp32", "seed": 3, "model_sha256": "f" * 64,
    }  # fmt: skip
    assert (result.real["n"], result.real["crop"], result.real["size"], result.real["filter"]) == (
        60, "face178", 32, "lanczos",
    )  # fmt: skip
    assert ears.last == {"generated": (60, 60), "real": (60, 60)}
    assert ears.said == ["measuring 60 images and 60 of the real side will take less than a minute on this machine"]
    assert result.to_dict()["fid"] == result.fid


def test_statistics_file_gives_the_same_figure_as_its_images(
    tmp_path: Path, dataset: Path, stub: StubExtractor, model: FakeModel
) -> None:
    file = tmp_path / "s.safetensors"
    made = make_statistics(str(dataset), file, Options(), name="drawn faces", keep_features=True)
    assert made.n == 60 and load_statistics(file).info["source"] == "drawn faces"
    against_images = compare(None, str(dataset), Options(num=20))
    against_file = compare(None, str(file), Options(num=20))
    assert against_file.fid == pytest.approx(against_images.fid, rel=1e-5)
    assert against_file.kid == against_images.kid is not None
    assert against_file.generated["n"] == 20
    make_statistics(str(dataset), file, Options())
    assert load_statistics(file).info["source"] == "data:valid"
    assert compare(None, str(file), Options(num=20)).kid is None


def test_two_statistics_files_need_no_weights(tmp_path: Path, dataset: Path, faces: Faces) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_inception", lambda *args, **kwargs: StubExtractor())
        for name, word in (("a", dataset), ("b", write_images(tmp_path / "images", faces[0][:30]))):
            make_statistics(str(word), tmp_path / f"{name}.safetensors", Options())
    result = compare(str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), Options())
    assert result.fid > 0 and result.kid is None


def test_folder_against_folder(tmp_path: Path, faces: Faces, stub: StubExtractor) -> None:
    a, b = (write_images(tmp_path / name, faces[0][part]) for name, part in (("a", slice(40)), ("b", slice(20, 60))))
    result = compare(str(a), str(b), Options())
    assert result.fid == pytest.approx(
        frechet_distance(from_features(stub(faces[0][:40])), from_features(stub(faces[0][20:]))), rel=1e-9
    )
    assert compare(str(a), str(a), Options()).fid == pytest.approx(0, abs=1e-3)
    assert compare(str(a), str(b), Options(num=25)).generated["n"] == 25


def test_reference_without_attributes_takes_the_shipped_rows(
    tmp_path: Path, faces: Faces, stub: StubExtractor, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_images(tmp_path / "a", faces[0]))
    shipped = Statistics(np.zeros(16, dtype=np.float32), np.eye(16), 60, {}, attributes=faces[1])
    monkeypatch.setattr(module, "shipped_reference", lambda: shipped)
    assert compare(None, folder, Options(num=12)).generated["n"] == 12
    monkeypatch.setattr(module, "shipped_reference", lambda: Statistics(shipped.mean, shipped.covariance, 60, {}))
    with pytest.raises(UsageError, match="no attributes"):
        compare(None, folder, Options(num=12))


def test_words_that_cannot_be_measured(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="give the model first"):
        compare(str(dataset), str(tmp_path / "model"), Options())
    with pytest.raises(UsageError, match="does not exist"):
        compare(str(tmp_path / "none"), str(dataset), Options())
    with pytest.raises(UsageError, match="no split named 'test'"):
        compare(str(dataset), f"{dataset}:test", Options())
    with pytest.raises(UsageError, match=r"\$CELEBGEN_DATASET"):
        module.open_real_images(None)
    monkeypatch.setattr(module, "REFERENCE_FILE", "absent.safetensors")
    with pytest.raises(CelebgenError, match="no reference statistics"):
        open_real(None)


def test_weights_are_missed_before_anything_slow_begins(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELEBGEN_INCEPTION_WEIGHTS", str(dataset / "none.pth"))
    monkeypatch.setattr(module, "load_pipeline", lambda *args: pytest.fail("the model was loaded first"))
    with pytest.raises(CelebgenError, match=r"none.pth that \$CELEBGEN_INCEPTION_WEIGHTS names"):
        compare(None, str(dataset), Options())


def test_shipped_reference() -> None:
    """It is what it says, small enough, and says nothing of the machine that it was made on."""
    from importlib import resources

    file = resources.files("celebgen_cli.reference") / module.REFERENCE_FILE
    with resources.as_file(file) as path:
        assert path.stat().st_size <= 9 * 2**20
    reference = module.shipped_reference()
    assert reference.n == 4535 and reference.mean.shape == (2048,) and reference.features is None
    assert reference.attributes is not None and reference.attributes.shape == (4535, 40)
    assert (reference.info["crop"], reference.info["size"], reference.info["filter"]) == ("face178", 128, "lanczos")
    assert not reference.info["lossy"] and "/" not in str(reference.info["source"])
    floor = reference.info["floor"]  # from the JSON beside it, whose SHA-256 is the file's
    assert (floor["n"], floor["n_real"]) == (2267, 2268) and 12.5 < floor["fid"] < 13.5 and abs(floor["kid"]) < 1e-3
    male = (reference.attributes[:, 20] > 0).mean()
    assert 0.4 < male < 0.5
    assert np.linalg.eigvalsh(reference.covariance[:200, :200]).min() > 0
    assert abs(frechet_distance(reference, reference)) < 1e-3


def test_durations() -> None:
    assert [duration(s) for s in (3, 60, 400, 7 * 3600)] == [
        "less than a minute", "about a minute", "about 7 minutes", "about 7.0 hours",
    ]  # fmt: skip
