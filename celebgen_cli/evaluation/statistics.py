"""Mean and covariance of the features of a set of images, in memory and as one safetensors file.

The file holds

    mean              float32 [D]
    covariance_upper  float32 [D (D + 1) / 2], the upper triangle row by row, diagonal included
    attributes        uint8 [N, 5], 40 attributes a row, packed with the first in the highest bit (optional)
    features          float32 [N, D], which KID needs and FID does not (optional, kept on request)

and, in its header under the key `celebgen`, a JSON object that says what the numbers are of: n, size, crop, filter,
lossy, source, its fingerprint, the network, the layer, a probe of the network, the versions of the tools, the floor
(see `celebgen_cli.evaluation.floor`) and the SHA-256 of the tensors. Beside it lies NAME.json: the same object for
people to read, with the SHA-256 of the whole file. Both digests are compared whenever the file is used; it can be sent
without its JSON.

Single precision costs nothing that a figure shows: with the features of 4,535 real faces the stored covariance moves
FID by 3e-9 against float64 (13.0508 between two halves of them, 4.8434 to a perturbed copy). The mean is float32 in
torch-fidelity too, so nothing of it is lost. At D = 2,048 the file has 8.0 MiB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli import __version__
from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.features import FeatureExtractor, probe
from celebgen_cli.evaluation.sources import ImageSource
from celebgen_cli.files import atomic_path, atomic_write_json, read_json, sha256_file

FORMAT = "celebgen-statistics"
FORMAT_VERSION = 1
HEADER_KEY = "celebgen"


@dataclass(frozen=True)
class Statistics:
    """What FID compares.

    Attributes:
        mean: float32 [D], as torch-fidelity computes it.
        covariance: float64 [D, D], symmetric.
        n: number of images.
        info: what the numbers are of; plain JSON values.
        attributes: int8 [n, 40] in -1 / 1, or None.
        features: float32 [n, D], or None.
    """

    mean: np.ndarray
    covariance: np.ndarray
    n: int
    info: Mapping[str, Any]
    attributes: np.ndarray | None = None
    features: np.ndarray | None = None


def from_features(
    features: np.ndarray, info: Mapping[str, Any] | None = None, attributes: np.ndarray | None = None
) -> Statistics:
    """Mean and unbiased covariance (divided by N - 1) of float32 [N, D], N at least 2.

    The arithmetic is torch-fidelity's own: a float32 mean and a float64 covariance.

    Raises:
        CelebgenError: fewer than two images.
    """
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics

    if len(features) < 2:
        raise CelebgenError(f"a covariance needs at least two images and there are {len(features)}; measure more")
    both = fid_features_to_statistics(torch.from_numpy(features))
    return Statistics(both["mu"], both["sigma"], len(features), dict(info or {}), attributes, features)


def describe_set(source: ImageSource, n: int, extractor: FeatureExtractor) -> dict[str, Any]:
    """The JSON that goes with the statistics of the first `n` images of a source."""
    return {
        "n": n,
        "source": source.label,
        "kind": source.kind,
        "size": source.size,
        "crop": source.crop,
        "filter": source.filter,
        "lossy": source.lossy,
        "settings": source.settings(),
        "network": extractor.name,
        "layer": extractor.layer,
        "weights_sha256": extractor.weights_sha256,
        "probe": probe(extractor),
        "versions": tool_versions(),
    }


def tool_versions() -> dict[str, str]:
    """Versions of what computes the figures."""
    versions = {"celebgen": __version__}
    for package in ("torch-fidelity", "torch", "numpy", "pillow"):
        try:
            versions[package] = package_metadata.version(package)
        except package_metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def save_statistics(path: Path, statistics: Statistics, *, keep_features: bool = False) -> None:
    """Write a statistics file, whole or not at all, and what it is as JSON beside it.

    Raises:
        CelebgenError: a file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    upper = np.triu_indices(len(statistics.mean))
    tensors: dict[str, np.ndarray] = {
        "mean": np.ascontiguousarray(statistics.mean, dtype=np.float32),
        "covariance_upper": statistics.covariance[upper].astype(np.float32),
    }
    if statistics.attributes is not None:
        tensors["attributes"] = np.packbits(statistics.attributes > 0, axis=1)
    if keep_features and statistics.features is not None:
        tensors["features"] = np.ascontiguousarray(statistics.features, dtype=np.float32)
    info = {**statistics.info, "format": FORMAT, "format_version": FORMAT_VERSION, "n": statistics.n}
    info["tensors_sha256"] = _digest(tensors)
    beside = path.with_suffix(".json")
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={HEADER_KEY: json.dumps(info, ensure_ascii=False)})
        except SafetensorError as error:  # of a full disk, too
            raise CelebgenError(f"cannot write {path} ({error}); free some space or choose another place") from error
        beside.unlink(missing_ok=True)  # or a kill between the two would leave the JSON of another file
    atomic_write_json(beside, {**info, "file_sha256": sha256_file(path)})


def load_statistics(path: Path) -> Statistics:
    """Read a statistics file and check that it is whole and the one that its JSON is about.

    Raises:
        CelebgenError: it is missing, damaged or changed, of another format or version, its tensors do not fit
            together, or the JSON beside it is of another file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except FileNotFoundError as error:
        raise CelebgenError(f"the statistics file {path} does not exist") from error
    except (OSError, SafetensorError) as error:
        raise CelebgenError(f"{path} is not a whole safetensors file ({error}); get it again") from error
    try:
        info = json.loads(header.get(HEADER_KEY, "null"))
    except ValueError:
        info = None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise CelebgenError(f"{path} has no statistics in it; make some with `celebgen evaluate stats SPLIT -o FILE`")
    if info.get("format_version") != FORMAT_VERSION:
        raise CelebgenError(
            f"{path} has statistics format version {info.get('format_version')} and this celebgen reads version "
            f"{FORMAT_VERSION}; make the file again or install the matching celebgen"
        )
    if info.pop("tensors_sha256", None) not in (None, _digest(tensors)):
        raise CelebgenError(f"{path} is damaged: its numbers have another SHA-256 than it says; make or get it again")
    info = {**_beside(path), **info}
    try:
        return _assemble(tensors, info)
    except (KeyError, TypeError, ValueError) as error:
        raise CelebgenError(f"{path} is damaged ({error}); make or get it again") from error


def _beside(path: Path) -> dict[str, Any]:
    """What the JSON beside a statistics file says, nothing where there is none.

    Raises:
        CelebgenError: it is of another file.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    info = read_json(beside)
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        return {}  # a file of somebody else's that happens to have this name
    if info.pop("file_sha256", None) != sha256_file(path):
        raise CelebgenError(
            f"{beside} is about another file than {path.name} (its SHA-256 differs): get both again, or remove the JSON"
        )
    info.pop("tensors_sha256", None)
    return info


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype} {list(array.shape)}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _assemble(tensors: Mapping[str, np.ndarray], info: dict[str, Any]) -> Statistics:
    mean, upper, n = tensors["mean"], tensors["covariance_upper"], int(info["n"])
    attributes, features = tensors.get("attributes"), tensors.get("features")
    d = len(mean)
    expected = {"covariance_upper": (d * (d + 1) // 2,), "attributes": (n, 5), "features": (n, d)}
    for name, shape in expected.items():
        if name in tensors and tensors[name].shape != shape:
            raise ValueError(f"{name} is {list(tensors[name].shape)}, not {list(shape)}")
    if mean.ndim != 1 or n < 2 or not (np.isfinite(mean).all() and np.isfinite(upper).all()):
        raise ValueError("its numbers are not those of a mean and a covariance")
    covariance = np.zeros((d, d), dtype=np.float64)
    covariance[np.triu_indices(d)] = upper
    covariance += np.triu(covariance, 1).T
    if attributes is not None:
        attributes = np.unpackbits(attributes, axis=1).astype(np.int8) * 2 - 1
    return Statistics(mean.astype(np.float32), covariance, n, info, attributes, features)
