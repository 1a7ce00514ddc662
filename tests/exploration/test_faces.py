"""The pass over the pixels against NumPy on the whole array, and the descriptors against SciPy's cosine transform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dctn

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.exploration.faces import cosine_waves, describe_images, measure_faces, mirror_signs
from celebgen_cli.exploration.parts import open_parts, read_rows
from tests.exploration.conftest import write_split


@pytest.fixture(scope="module")
def noise() -> tuple[np.ndarray, np.ndarray]:
    """More images than a chunk has, as bright as they can be: sums would round first there."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (600, 32, 32, 3)).astype(np.uint8)
    images[:300] = 255 - images[:300] // 64
    return images, rng.choice(np.array([-1, 1], np.int8), (600, 40))


def test_sums_are_exact(tmp_path: Path, noise: tuple[np.ndarray, np.ndarray]) -> None:
    images, attributes = noise
    attributes = attributes.copy()
    attributes[::3, 7] = 0
    attributes[:, 9] = 0
    write_split(tmp_path / "data", "train", images[:400], attributes=attributes[:400])
    write_split(tmp_path / "data", "valid", images[400:], attributes=attributes[400:], first=401)
    seen: list[tuple[int, int]] = []
    faces = measure_faces(open_parts([tmp_path / "data"]), lambda done, total: seen.append((done, total)))
    assert seen == [(256, 600), (400, 600), (600, 600)]
    whole = images.astype(np.int64)
    assert np.array_equal(faces.sums[0], whole.sum(0)) and np.array_equal(faces.squares[0], (whole**2).sum(0))
    for part, rows in enumerate((whole[:400], whole[400:])):
        for channel in range(3):
            counts = np.bincount(rows[..., channel].ravel(), minlength=256)
            assert np.array_equal(faces.histograms[part, channel], counts)
    average = faces.average()
    assert average.count == 600 and np.allclose(average.mean, whole.mean(0), atol=1e-10)
    assert np.allclose(average.variance, whole.var(0), atol=1e-8)
    for attribute in (0, 7, 39):
        for found, value in ((faces.with_attribute(attribute), 1), (faces.without_attribute(attribute), -1)):
            rows = whole[attributes[:, attribute] == value]
            assert found is not None and found.count == len(rows)
            assert np.allclose(found.mean, rows.mean(0), atol=1e-10)
            assert np.allclose(found.variance, rows.var(0), atol=1e-8)
    assert faces.with_attribute(9) is None and faces.without_attribute(9) is None


@pytest.mark.parametrize("size", [32, 50, 97])
def test_descriptors_are_the_cosine_transform(size: int) -> None:
    images = np.random.default_rng(size).integers(0, 256, (5, size, size, 3)).astype(np.float32)
    found = describe_images(images, cosine_waves(size))
    gray = images @ np.array([0.299, 0.587, 0.114])
    exact = dctn(gray, axes=(1, 2), norm="ortho")[:, :8, :8].reshape(5, 64)[:, 1:] / size
    assert np.allclose(found, exact, atol=1e-3)
    mirrored = describe_images(np.ascontiguousarray(images[:, :, ::-1]), cosine_waves(size))
    assert np.allclose(found * mirror_signs(), mirrored, atol=1e-3)
    level = gray - gray.mean((1, 2), keepdims=True)
    for i in range(1, 5):  # what the search relies on
        pixels = np.sqrt(((level[0] - level[i]) ** 2).mean())
        assert np.linalg.norm(found[0] - found[i]) <= pixels + 1e-3


def test_rows_are_read_from_the_file(tmp_path: Path, noise: tuple[np.ndarray, np.ndarray]) -> None:
    images = noise[0][:7]
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for array in (images, mapped):
        assert np.array_equal(read_rows(array, 2, 5), images[2:5])
        assert not isinstance(read_rows(array, 2, 5), np.memmap)


def test_parts_of_two_datasets(tmp_path: Path, noise: tuple[np.ndarray, np.ndarray]) -> None:
    images = noise[0]
    one = write_split(tmp_path / "a" / "data", "train", images[:3])
    write_split(one, "valid", images[3:5], names=["x.png", "y.png"])
    two = write_split(tmp_path / "b" / "data", "train", images[5:9], first=90)
    parts = open_parts([one, two])
    assert [part.label for part in parts.parts] == ["a/data:train", "a/data:valid", "b/data:train"]
    assert [part.label for part in open_parts([one]).parts] == ["train", "valid"]
    assert np.array_equal(parts.images([8, 0, 4]), images[[8, 0, 4]])
    part, row = parts.place(4)
    assert (part.label, row, part.name_of(row)) == ("a/data:valid", 1, "y.png")
    assert parts.place(5)[0].name_of(0) == "000090"


def test_what_cannot_be_explored_together(tmp_path: Path, noise: tuple[np.ndarray, np.ndarray]) -> None:
    images = noise[0]
    one = write_split(tmp_path / "one", "train", images[:3])
    large = write_split(tmp_path / "large", "train", np.zeros((1, 40, 40, 3), np.uint8))
    with pytest.raises(UsageError, match="large is 40 px, crop face178, and .*one is 32 px.*prepare both alike"):
        open_parts([one, large])
    with pytest.raises(UsageError, match="given twice"):
        open_parts([one, tmp_path / "one" / ".." / "one"])
    with pytest.raises(CelebgenError, match="holds no images"):
        open_parts([write_split(tmp_path / "empty", "train", images[:0])])
