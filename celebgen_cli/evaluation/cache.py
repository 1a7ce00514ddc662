"""Features extracted before, kept as safetensors in the user's cache folder under a hash of what made them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_path


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


def load_features(key: str, count: int, dimensions: int) -> np.ndarray | None:
    """float32 [count, dimensions] stored under `key`, or None where nothing usable is stored."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = _features_path(key)
    try:
        features = load_file(path)["features"]
    except (OSError, SafetensorError, KeyError, ValueError):
        return None  # a damaged entry is worth no more than a missing one: it is made again
    if features.shape != (count, dimensions) or features.dtype != np.float32 or not np.isfinite(features).all():
        return None
    return features


def store_features(key: str, features: np.ndarray) -> bool:
    """Keep float32 [N, D] features under `key`; False where the cache cannot be written, which is no failure."""
    from safetensors.numpy import save_file

    with contextlib.suppress(CelebgenError, OSError), atomic_path(_features_path(key)) as temporary:
        save_file({"features": np.ascontiguousarray(features, dtype=np.float32)}, temporary)
        return True
    return False


def _features_path(key: str) -> Path:
    return cache_folder() / "features" / f"{key}.safetensors"
