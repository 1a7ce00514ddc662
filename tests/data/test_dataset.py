"""A prepared dataset is opened, its damage noticed, its fingerprint bound to the data."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.data.texts import write_texts
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import sha256_file
from tests.faces import prepared_faces


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_faces(tmp_path_factory.mktemp("faces"), 12, size=32)


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "dataset"))


def edit(dataset: Path, **changes: object) -> None:
    path = dataset / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_split_has_what_the_format_says(original: Path) -> None:
    dataset = open_dataset(str(original))
    assert dataset.splits == ("train", "valid", "test")
    assert (dataset.size, dataset.crop, dataset.info["format"]) == (32, "face178", "celebgen-dataset")
    split = dataset.split("train")
    assert (split.name, split.size, split.crop, len(split)) == ("train", 32, "face178", 9)
    assert split.images.shape == (9, 32, 32, 3) and split.images.dtype == np.uint8
    assert isinstance(split.images, np.memmap) and not split.images.flags.writeable
    assert split.ids.dtype == np.int64 and split.ids.tolist() == list(range(1, 10))
    assert split.attributes.shape == (9, 40) and split.attributes.dtype == np.int8
    assert split.identity.dtype == np.int64 and split.identity.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5]
    dataset.verify()


def test_opening_reads_no_pixels(original: Path) -> None:
    start = time.perf_counter()
    open_dataset(original).split("train")
    assert time.perf_counter() - start < 0.15


def test_fingerprint_changes_with_the_data(dataset: Path, original: Path, tmp_path: Path) -> None:
    fingerprint = open_dataset(dataset).split("train").fingerprint
    assert len(fingerprint) == 64
    assert fingerprint == open_dataset(original).split("train").fingerprint
    assert fingerprint != open_dataset(dataset).split("valid").fingerprint
    other = prepared_faces(tmp_path / "other", 12, seed=1, size=32)
    assert fingerprint != open_dataset(other).split("train").fingerprint


def test_what_is_no_dataset(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match="nowhere does not exist.*celebgen prepare"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(CelebgenError, match="no dataset.json"):
        open_dataset(tmp_path)
    (dataset / "dataset.json").write_text("{")
    with pytest.raises(CelebgenError, match="cannot be read as JSON"):
        open_dataset(dataset)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "other"}, "does not describe"),
        ({"format_version": 2}, "format version 2 and this celebgen reads version 1"),
        ({"sha256": {}}, "lacks an entry"),
        ({"counts": None}, "lacks an entry"),
        ({"crop": {}}, "lacks an entry"),
    ],
)
def test_other_formats_are_refused(dataset: Path, changes: dict[str, object], sentence: str) -> None:
    edit(dataset, **changes)
    with pytest.raises(CelebgenError, match=sentence):
        open_dataset(dataset)


def test_unknown_split(dataset: Path) -> None:
    with pytest.raises(UsageError, match="no split named 'dev'; it has train, valid, test"):
        open_dataset(dataset).split("dev")


@pytest.mark.parametrize("array", ["images", "ids", "attributes", "identity"])
def test_damaged_arrays_are_noticed(dataset: Path, array: str) -> None:
    path = dataset / "train" / f"{array}.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CelebgenError, match=rf"{array}.npy is cut off or damaged"):
        open_dataset(dataset).split("train")
    np.save(path, np.zeros(3))
    with pytest.raises(CelebgenError, match=rf"{array}.npy holds float64 \[3\]"):
        open_dataset(dataset).split("train")
    path.unlink()
    with pytest.raises(CelebgenError, match=rf"{array}.npy is missing"):
        open_dataset(dataset).split("train")


def test_pickles_are_never_loaded(dataset: Path) -> None:
    np.save(dataset / "train" / "ids.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CelebgenError, match="damaged"):
        open_dataset(dataset).split("train")


def test_verify_sees_one_changed_bit(dataset: Path) -> None:
    path = dataset / "valid" / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CelebgenError, match="images.npy is missing or differs"):
        open_dataset(dataset).verify()


def test_what_is_optional_is_none_where_absent_and_part_of_the_fingerprint(dataset: Path) -> None:
    before = open_dataset(dataset).split("train")
    assert before.landmarks is None and before.captions is None and before.names is None
    points = np.full((9, 5, 2), 7.5, dtype=np.float32)
    np.save(dataset / "train" / "landmarks.npy", points)
    write_texts(dataset / "train", "captions", [["a", "b"]] * 9)
    write_texts(dataset / "train", "names", [["x.jpg"]] * 9, one_each=True)
    digests = json.loads((dataset / "dataset.json").read_text())["sha256"]
    edit(dataset, sha256=digests | {"train/landmarks.npy": sha256_file(dataset / "train" / "landmarks.npy")})
    after = open_dataset(dataset).split("train")
    assert after.landmarks is not None and after.captions is not None and after.names is not None
    np.testing.assert_array_equal(after.landmarks, points)
    assert after.captions.of(8) == ("a", "b") and after.names.of(0) == ("x.jpg",)
    assert after.fingerprint != before.fingerprint
    (dataset / "train" / "landmarks.npy").unlink()
    with pytest.raises(CelebgenError, match="landmarks.npy is missing"):
        open_dataset(dataset).split("train")


def test_gather_copies_rows_in_the_order_asked(original: Path) -> None:
    split = open_dataset(original).split("train")
    rows = np.array([5, 0, 5, 8])
    batch = split.gather(rows)
    assert type(batch) is np.ndarray and batch.flags.writeable and batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, np.stack([split.images[row] for row in rows]))
    with pytest.raises(IndexError):
        split.gather(np.array([9]))
