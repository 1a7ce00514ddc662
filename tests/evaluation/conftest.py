"""Stand-ins for what evaluation needs from elsewhere: a small feature extractor, a model, a prepared dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.files import sha256_file
from celebgen_cli.settings import complete
from tests.faces import draw_face


class StubExtractor:
    """Sixteen fixed random projections of an image's 4x4 thumbnail, rectified."""

    name = "stub"
    layer = "16"
    dimensions = 16
    weights_sha256 = "0" * 64

    def __init__(self, seed: int = 0) -> None:
        self.seen = 0
        self._matrix = np.random.default_rng(seed).normal(size=(48, 16)) / 60

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        n, h, w, _ = images.shape
        # in float64, rounded once: a float32 product would depend on the number of images at a time
        small = images.reshape(n, 4, h // 4, 4, w // 4, 3).mean(axis=(2, 4), dtype=np.float64)
        return np.maximum((small.reshape(n, 48) - 128) @ self._matrix, 0).astype(np.float32)


class FakeModel:
    """Draws a flat colour that depends on prompt, seed and guidance alone, and reconstructs with a fixed error."""

    name = "fake"
    sha256 = "f" * 64
    crop = "face178"
    precision = "fp32"
    calibration = None
    defaults = {"sampler": "ddim", "steps": 7, "guidance": 2.0}

    def __init__(self, size: int = 32) -> None:
        self.size = size
        self.asked: list[dict[str, Any]] = []

    def settings(self, **given: Any) -> dict[str, Any]:
        return complete(self.defaults, given, 1000)

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], **settings: Any) -> np.ndarray:
        assert len(prompts) == len(seeds)
        self.asked.append(settings)
        images = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            rng = np.random.default_rng((seed, sum(prompt.encode())))
            images.append(rng.integers(0, 256, size=(self.size, self.size, 3), dtype=np.uint8))
        return np.stack(images)

    def reconstruct(self, images: np.ndarray, calibrate: bool = True) -> np.ndarray:
        error = 3 if calibrate else 5
        return np.where(images > 127, images - error, images + error).astype(np.uint8)


@pytest.fixture(autouse=True)
def private_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, weights or dataset."""
    monkeypatch.setenv("CELEBGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("CELEBGEN_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.delenv("CELEBGEN_DATASET", raising=False)


@pytest.fixture
def extractor() -> StubExtractor:
    return StubExtractor()


@pytest.fixture(scope="session")
def faces() -> tuple[np.ndarray, np.ndarray]:
    """60 drawn faces, uint8 [60, 32, 32, 3], and their attributes, int8 [60, 40]."""
    rng = np.random.default_rng(5)
    drawn = [draw_face(rng, None) for _ in range(60)]
    images = [np.asarray(face.crop((0, 20, 178, 198)).resize((32, 32), Image.Resampling.LANCZOS)) for face, _ in drawn]
    return np.stack(images), np.stack([attributes for _, attributes in drawn])


def write_images(folder: Path, images: np.ndarray) -> Path:
    """One PNG an image."""
    folder.mkdir(parents=True)
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    return folder


def write_dataset(folder: Path, images: np.ndarray, attributes: np.ndarray, split: str = "valid") -> Path:
    """A prepared dataset with one split."""
    n = len(images)
    arrays = {
        "images": images,
        "ids": np.arange(1, n + 1, dtype=np.int64),
        "attributes": attributes.astype(np.int8),
        "identity": np.full(n, -1, dtype=np.int64),
    }
    (folder / split).mkdir(parents=True)
    digests = {}
    for name, array in arrays.items():
        np.save(folder / split / f"{name}.npy", array)
        digests[f"{split}/{name}.npy"] = sha256_file(folder / split / f"{name}.npy")
    info = {
        "format": "celebgen-dataset",
        "format_version": 1,
        "size": images.shape[1],
        "crop": {"name": "face178", "box": [0, 20, 178, 198]},
        "filter": "lanczos",
        "source": "drawn",
        "counts": {"train": 0, "valid": 0, "test": 0, split: n},
        "sha256": digests,
        "lossy_source": False,
    }
    (folder / "dataset.json").write_text(json.dumps(info), encoding="utf-8")
    return folder
