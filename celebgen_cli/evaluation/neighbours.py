"""Nearest neighbours in a space of features, exact and in bounded memory; and the spaces that need no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celebgen_cli.evaluation.drawn import made_by
from celebgen_cli.evaluation.features import FeatureExtractor
from celebgen_cli.evaluation.prior import WithPrior

CHUNK = 4096
"""Rows of the set that is searched, and at most as many queries, at a time: 64 MiB of distances."""

PIXELS = 16


@dataclass(frozen=True)
class Neighbours:
    """The K nearest of a set for each of N queries, nearest first.

    Attributes:
        distances: float64 [N, K], Euclidean. rows: int64 [N, K], of the set.
    """

    distances: np.ndarray
    rows: np.ndarray


def nearest(queries: np.ndarray, searched: np.ndarray, k: int = 1) -> Neighbours:
    """The `k` nearest rows of `searched` [M, D] for each of `queries` [N, D], M at least k.

    Candidates are found by |a|^2 + |b|^2 - 2ab in float32 on centred features, a few more than k, and their distances
    are then taken from the differences, so that a picture is at distance 0 from its copy.
    """
    import torch

    keep = min(k + 4, len(searched))
    centre = searched.mean(axis=0, dtype=np.float64).astype(np.float32)
    distances, rows = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), CHUNK):
        some = torch.from_numpy(queries[start : start + CHUNK] - centre)
        best = torch.full((len(some), keep), torch.inf)
        where = torch.zeros((len(some), keep), dtype=torch.int64)
        for first in range(0, len(searched), CHUNK):
            part = torch.from_numpy(searched[first : first + CHUNK] - centre)
            square = (part * part).sum(1)[None] - 2 * some @ part.T  # |a|^2 is the same for all of them
            found = square.topk(min(keep, len(part)), dim=1, largest=False)
            both, places = torch.cat([best, found.values], 1), torch.cat([where, found.indices + first], 1)
            best, order = both.topk(keep, dim=1, largest=False)
            where = places.gather(1, order)
        for i, candidates in enumerate(where.numpy()):
            difference = searched[candidates].astype(np.float64) - queries[start + i].astype(np.float64)
            exact = np.sqrt(np.square(difference).sum(axis=1))
            first_k = np.lexsort((candidates, exact))[:k]
            distances[start + i], rows[start + i] = exact[first_k], candidates[first_k]
    return Neighbours(distances, rows)


def nearer(a: Neighbours, b: Neighbours) -> Neighbours:
    """The K nearest of what was found for the same queries twice, each row of the set once."""
    k = a.rows.shape[1]
    distances, rows = np.empty_like(a.distances), np.empty_like(a.rows)
    for i in range(len(a.rows)):
        both = np.concatenate([a.distances[i], b.distances[i]])
        places = np.concatenate([a.rows[i], b.rows[i]])
        order = np.argsort(both, kind="stable")
        _, first = np.unique(places[order], return_index=True)
        order = order[np.sort(first)][:k]
        distances[i], rows[i] = both[order], places[order]
    return Neighbours(distances, rows)


class Latents:
    """The mean of q(z|x) without text, whitened by the prior without text: what the denoiser would have to copy."""

    name = "cvae-latent"
    layer = "whitened mean"

    def __init__(self, model: WithPrior) -> None:
        self.model = model
        p = model.prior([""])
        self._mean, self._std = p.mean.reshape(1, -1), p.std.reshape(1, -1)
        self.dimensions = self._mean.shape[1]
        self.weights_sha256 = " ".join(made_by(model))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] to float32 [N, C h h]."""
        mean = self.model.posterior(images, len(images)).mean.cpu().numpy().reshape(len(images), -1)
        return np.asarray((mean - self._mean) / self._std, dtype=np.float32)


class Pixels:
    """Pictures averaged down to 16x16, in units of a level: coarse likeness, without any network."""

    name = "pixels"
    layer = f"{PIXELS}x{PIXELS} means"
    dimensions = 3 * PIXELS**2
    weights_sha256 = "0"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] to float32 [N, 768]."""
        import torch
        import torch.nn.functional as F

        pixels = torch.from_numpy(np.array(images, order="C")).permute(0, 3, 1, 2).float()
        return np.asarray(F.interpolate(pixels, size=(PIXELS, PIXELS), mode="area").flatten(1).numpy())


class Mirrored:
    """Another extractor's features of mirrored pictures."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.extractor = extractor
        self.name, self.layer = f"{extractor.name} mirrored", extractor.layer
        self.dimensions, self.weights_sha256 = extractor.dimensions, extractor.weights_sha256

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] to float32 [N, D]."""
        return self.extractor(np.ascontiguousarray(images[:, :, ::-1]))


class Joined:
    """Features of several extractors side by side, so that each picture is drawn or read once."""

    def __init__(self, extractors: list[FeatureExtractor]) -> None:
        self.extractors = extractors
        self.name = " | ".join(extractor.name for extractor in extractors)
        self.layer = " | ".join(extractor.layer for extractor in extractors)
        self.weights_sha256 = " | ".join(extractor.weights_sha256 for extractor in extractors)
        self.dimensions = sum(extractor.dimensions for extractor in extractors)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] to float32 [N, D]."""
        return np.concatenate([extractor(images) for extractor in self.extractors], axis=1)

    def split(self, features: np.ndarray) -> list[np.ndarray]:
        """The columns of each extractor."""
        ends = np.cumsum([extractor.dimensions for extractor in self.extractors])[:-1]
        return [np.ascontiguousarray(part) for part in np.split(features, ends, axis=1)]
