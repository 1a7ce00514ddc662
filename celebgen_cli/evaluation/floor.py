"""What a metric says of two sets of real images that share none: no generator can be expected to score better.

FID is biased: to first order it is too high by an amount that goes as 1 / N on either side (Chong and Forsyth 2020,
arXiv 1911.07023), so between two sets of the same kind all of it is that bias. It is measured at the largest N that
the reference has images for, and what follows for the N of a figure is said apart from what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.cache import features_key, load_record, store_record
from celebgen_cli.evaluation.fid import METRICS, check_network
from celebgen_cli.evaluation.prc import COVERAGE_NEIGHBORS
from celebgen_cli.evaluation.statistics import Statistics, from_features

SEED = 0
"""Of the shuffle that decides which images of the reference are in which part."""

EXTRAPOLATED = ("fid", "fd")
"""Figures whose floor goes as 1 / N; KID is unbiased, and precision and recall follow no such law."""


STORED = {
    "fid": ("fid", "kid", "kid_deviation", "kid_subsets", "kid_subset_size"), "fid only": ("fid",),
    "kid": ("kid", "kid_deviation", "kid_subsets", "kid_subset_size"), "fd": ("fd",),
}  # fmt: skip
"""What a metric takes of a floor that a statistics file carries; the first has to be there."""


def floor_of(
    real: Statistics, num: int, metric: str, other: Statistics | None = None, *, cache: bool = True
) -> dict[str, Any] | None:
    """The floor of a metric against this reference for a generated side of `num` images, as plain JSON values.

    Args:
        real: the reference.
        num: images of the generated side.
        metric: a name of `celebgen_cli.evaluation.fid.METRICS`.
        other: real images that are not in the reference; None takes two parts of the reference at random: `num`
            images and the rest where they are enough, two halves where not.
        cache: whether what was computed before is taken, and what is computed now is kept.

    Returns:
        The metric's figures, `n` and `n_real` (images of the two sets), `sets` (which they are), and where the N of
        the figure is another one and the law of 1 / N is of use, `extrapolated`: {`n`, `n_real`, figure}. None where
        the reference has neither features nor a floor that was stored with it, and where a part of it has no more
        images than a neighbourhood of precision and recall.

    Raises:
        CelebgenError: `other` is the reference itself, or of another network.
    """
    if other is not None:
        if real.info.get("fingerprint") is not None and other.info.get("fingerprint") == real.info.get("fingerprint"):
            raise CelebgenError(f"the floor needs two sets and {other.info.get('source')} is the reference itself")
        check_network(other, real)
        figures = METRICS[metric](other, real)
        found = {**figures, "n": other.n, "n_real": real.n, "sets": f"{_name(other.info)} and {_name(real.info)}"}
    elif metric == "prc" and min(num, real.n // 2) <= COVERAGE_NEIGHBORS:
        return None  # a part has fewer images than a neighbourhood
    elif real.features is not None and real.n >= 4:
        found = _parted(real, num, metric, cache)
    else:
        stored = real.info.get("floor")
        names = STORED.get(metric, ())
        if not names or not isinstance(stored, Mapping):
            return None
        if any(stored.get(name) is None for name in (names[0], "n", "n_real")):
            return None
        found = {name: stored[name] for name in (*names, "n", "n_real", "sets") if name in stored}
    return _extrapolated(found, num, real)


def _parted(real: Statistics, num: int, metric: str, cache: bool) -> dict[str, Any]:
    """The figures between two parts of the reference: `num` images and the rest, or two halves."""
    assert real.features is not None
    first = min(num, real.n // 2)
    key = features_key(
        "floor", 2, metric, str(real.info.get("fingerprint")), str(real.info.get("weights_sha256")), real.n, first
    )
    known = load_record(key) if cache and real.info.get("fingerprint") else None
    if known is not None:
        return {**known, "sets": _parts_of(real.info)}
    rows = np.random.default_rng(SEED).permutation(real.n)
    parts = [from_features(real.features[some]) for some in (rows[:first], rows[first:])]
    found = {**METRICS[metric](*parts), "n": first, "n_real": real.n - first}
    if cache and real.info.get("fingerprint"):
        store_record(key, found)
    return {**found, "sets": _parts_of(real.info)}


def _extrapolated(found: dict[str, Any], num: int, real: Statistics) -> dict[str, Any]:
    """Add what the law of 1 / N makes of the floor at the N of the figure, where N is large enough for it."""
    n, n_real = int(found["n"]), int(found["n_real"])
    if (n, n_real) == (num, real.n) or min(n, n_real, num, real.n) <= len(real.mean):
        return found
    share = (1 / num + 1 / real.n) / (1 / n + 1 / n_real)
    figures = {name: found[name] * share for name in EXTRAPOLATED if found.get(name) is not None}
    return {**found, "extrapolated": {"n": num, "n_real": real.n, **figures}} if figures else found


def with_floor(statistics: Statistics, metric: str) -> Statistics:
    """Statistics whose JSON says the floor between two halves, for those who will have no features to measure it."""
    if statistics.n < 4:
        return statistics
    floor = _parted(statistics, statistics.n, metric, cache=True)
    return replace(statistics, info={**statistics.info, "floor": floor})


def _name(info: Mapping[str, Any]) -> str:
    return str(info.get("source") or info.get("kind") or "a set")


def _parts_of(info: Mapping[str, Any]) -> str:
    return f"two parts of {_name(info)} that share no image"
