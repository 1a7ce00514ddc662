"""Small prepared datasets written by hand, with or without everything that is optional."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.texts import write_texts
from celebgen_cli.files import sha256_file
from tests.faces import draw_face


def write_split(
    folder: Path,
    split: str,
    images: np.ndarray,
    *,
    attributes: np.ndarray | None = None,
    identity: np.ndarray | None = None,
    landmarks: np.ndarray | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    first: int = 1,
) -> Path:
    """Add a split to a prepared dataset, or begin one; attributes and people are unknown where they are not given."""
    n = len(images)
    place = folder / split
    place.mkdir(parents=True)
    np.save(place / "images.npy", images)
    np.save(place / "ids.npy", np.arange(first, first + n))
    np.save(place / "attributes.npy", np.zeros((n, 40), np.int8) if attributes is None else attributes)
    np.save(place / "identity.npy", np.full(n, -1) if identity is None else identity)
    if landmarks is not None:
        np.save(place / "landmarks.npy", landmarks.astype(np.float32))
    if captions is not None:
        write_texts(place, "captions", captions)
    if names is not None:
        write_texts(place, "names", [[name] for name in names], one_each=True)
    path = folder / "dataset.json"
    info = json.loads(path.read_text()) if path.exists() else {"counts": {}, "sha256": {}}
    info |= {
        "format": "celebgen-dataset",
        "format_version": 1,
        "size": images.shape[1],
        "crop": {"name": "face178", "box": [0, 20, 178, 198]},
        "lossy_source": False,
    }
    info["counts"][split] = n
    info["sha256"] |= {f"{split}/{file.name}": sha256_file(file) for file in place.iterdir()}
    path.write_text(json.dumps(info))
    return folder


def draw(count: int, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Drawn faces uint8 [count, size, size, 3] and their attributes int8 [count, 40]."""
    rng = np.random.default_rng(seed)
    drawn = [draw_face(rng, size=(size, size)) for _ in range(count)]
    return np.stack([np.asarray(image) for image, _ in drawn]), np.stack([attributes for _, attributes in drawn])


@pytest.fixture(scope="session")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    return draw(60)
