"""How different the faces of one prompt are, beside photographs of which the same prompt is true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celebgen_cli.data.captions import CaptionSource, is_true_of, prompt_for
from celebgen_cli.evaluation.pictures import pick
from celebgen_cli.evaluation.similarity import lpips
from celebgen_cli.evaluation.sources import ImageSource, TextToImage

if TYPE_CHECKING:
    from celebgen_cli.training.perceptual import LPIPS

ASKED: tuple[Mapping[str, bool], ...] = (
    {"Male": False},
    {"Male": True},
    {"Male": False, "Smiling": True},
    {"Male": True, "Smiling": False},
    {"Male": False, "Blond_Hair": True},
    {"Male": True, "Black_Hair": True},
    {"Male": True, "Eyeglasses": True},
    {"Male": False, "Wavy_Hair": True, "Young": True},
)
"""What the prompts say, plainly: common enough for any photographs to show it."""

SEEDS = 16

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Distance of each pair of uint8 [N, H, W, 3]: float64 [N]."""


@dataclass(frozen=True)
class Diversity:
    """Mean distance between two faces of one prompt.

    Attributes:
        distance: what it is measured in.
        generated, real: over all prompts. ratio: of the two, 1 for a model whose faces of a prompt differ as much as
            photographs do, 0 for one that knows a single face for each.
        seeds: faces of each prompt. prompts: `prompt`, `generated` and `real` of each.
    """

    distance: str
    generated: float
    real: float
    ratio: float
    seeds: int
    prompts: tuple[dict[str, Any], ...]


def measure_diversity(
    model: TextToImage,
    photographs: ImageSource,
    captions: CaptionSource,
    distance: Distance,
    called: str,
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: int = SEEDS,
    first_seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> Diversity | None:
    """Draw `seeds` faces for each prompt of `ASKED`, and take as many photographs of which it is true.

    Prompts of which fewer photographs are true are left out; None where all are.

    Args:
        captions: of the photographs' rows, of which the attributes are read.
        called: the name of the distance.
    """
    used = {name: value for name, value in (settings or {}).items() if value is not None}
    chosen = list(_asked(captions, seeds, first_seed))
    rows: list[dict[str, Any]] = []
    for done, (prompt, real) in enumerate(chosen):
        faces: list[np.ndarray] = []
        for start in range(0, seeds, batch_size):
            some = list(range(first_seed + start, first_seed + min(start + batch_size, seeds)))
            faces.append(model.sample([prompt] * len(some), some, batch_size=len(some), **used))
            if progress:
                progress(done * seeds + start + len(some), len(chosen) * seeds)
        pair = [mean_distance(np.concatenate(faces), distance), mean_distance(pick(photographs, real), distance)]
        rows.append({"prompt": prompt, "generated": pair[0], "real": pair[1]})
    if not rows:
        return None
    made, shown = (float(np.mean([row[side] for row in rows])) for side in ("generated", "real"))
    return Diversity(called, made, shown, made / shown if shown else 0.0, seeds, tuple(rows))


def mean_distance(images: np.ndarray, distance: Distance) -> float:
    """Mean distance over all pairs of uint8 [N, H, W, 3], N at least 2."""
    left, right = np.triu_indices(len(images), 1)
    parts = [
        distance(images[left[i : i + 32]], images[right[i : i + 32]]) for i in range(0, len(left), 32)
    ]
    return float(np.concatenate(parts).mean())


def lpips_distance(network: LPIPS) -> Distance:
    """LPIPS as a distance of pairs."""
    return lambda a, b: lpips(a, b, network)


def feature_distance(extract: Callable[[np.ndarray], np.ndarray]) -> Distance:
    """Root mean square difference of features."""

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        difference = extract(a).astype(np.float64) - extract(b).astype(np.float64)
        return np.asarray(np.sqrt(np.square(difference).mean(axis=1)))

    return distance


def _asked(captions: CaptionSource, count: int, seed: int) -> Iterator[tuple[str, Sequence[int]]]:
    """The prompts, and for each the rows of `count` photographs of which it is true, drawn with (seed, prompt)."""
    from celebgen_cli.data.attributes import ATTRIBUTES

    for names in ASKED:
        named = np.zeros(len(ATTRIBUTES), dtype=np.int8)
        for name, present in names.items():
            named[ATTRIBUTES.index(name)] = 1 if present else -1
        true = np.flatnonzero(is_true_of(named, captions.attributes) & captions.known)
        if len(true) >= count:
            key = hashlib.sha256(json.dumps([seed, sorted(names.items())]).encode()).digest()
            rng = np.random.default_rng(int.from_bytes(key[:8], "big"))
            yield prompt_for(names), sorted(rng.choice(true, count, replace=False).tolist())
