"""Features extracted before, kept as safetensors in the user's cache folder under a hash of what made them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_path, atomic_write_json, read_json


def cache_folder() -> Path:
    """`$CELEBGEN_CACHE`, or the platform's usual folder for caches; it may not exist yet."""
    chosen = os.environ.get("CELEBGEN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "celebgen" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "celebgen"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "celebgen"


def features_key(*parts: str | int) -> str:
    """SHA-256 in hexadecimal over everything that decides what the features are."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode("utf-8")).hexdigest()


def load_features(key: str, count: int, dimensions: int) -> np.ndarray:
    """The first `count` features, or as many as there are, stored under `key`: float32 [0 to count, dimensions]."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    nothing = np.empty((0, dimensions), dtype=np.float32)
    try:
        features = load_file(_features_path(key))["features"][:count]
    except (OSError, SafetensorError, KeyError, ValueError, IndexError):
        return nothing  # a damaged entry is worth no more than a missing one: it is made again
    if features.shape[1:] != (dimensions,) or features.dtype != np.float32 or not np.isfinite(features).all():
        return nothing
    return features


def store_features(key: str, features: np.ndarray) -> bool:
    """Keep float32 [N, D] features under `key`; False where the cache cannot be written, which is no failure."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with (
        contextlib.suppress(CelebgenError, OSError, SafetensorError),
        atomic_path(_features_path(key)) as temporary,
    ):
        save_file({"features": np.ascontiguousarray(features, dtype=np.float32)}, temporary)
        return True
    return False


def _features_path(key: str) -> Path:
    return cache_folder() / "features" / f"{key}.safetensors"


def load_record(key: str) -> dict[str, Any] | None:
    """A JSON object stored under `key`, or None where nothing usable is stored."""
    try:
        record = read_json(cache_folder() / "records" / f"{key}.json")
    except CelebgenError:
        return None
    return record if isinstance(record, dict) else None


def store_record(key: str, record: dict[str, Any]) -> None:
    """Keep a JSON object under `key`; a cache that cannot be written is no failure."""
    with contextlib.suppress(CelebgenError, OSError):
        atomic_write_json(cache_folder() / "records" / f"{key}.json", record)
