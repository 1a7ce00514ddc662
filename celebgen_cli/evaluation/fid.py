"""The figures of one set of images against another: a metric is a function of two sets that returns plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.extraction import Progress, Timing, features_of, statistics_of
from celebgen_cli.evaluation.frechet import frechet_distance
from celebgen_cli.evaluation.kid import KID_SUBSET_SIZE, KID_SUBSETS, kernel_distance
from celebgen_cli.evaluation.prc import COVERAGE_NEIGHBORS, PRC_NEIGHBORS, density_coverage, precision_recall
from celebgen_cli.evaluation.statistics import Statistics

__all__ = [
    "METRICS", "FidResult", "Figures", "Metric", "Progress", "Timing", "caveats", "check_network",
    "features_of", "fid_figures", "frechet_distance", "kernel_distance", "kid_figures", "measure", "prc_figures",
    "statistics_of",
]  # fmt: skip

PROBE_TOLERANCE = 2e-3
"""Two machines' float32 features differ by 1e-5; another network's by 0.1."""

Figures = dict[str, Any]
Metric = Callable[[Statistics, Statistics], Figures]
"""Figures by name of (generated, real)."""


@dataclass(frozen=True)
class FidResult:
    """The figures of a metric and everything that they depend on.

    Attributes:
        metric: "fid", "kid", "prc" or "fd".
        figures: by name: `fid` or `fd` (0 or more up to rounding, lower is closer); `kid` (mean over subsets),
            `kid_deviation` (over them; None where a subset is all of a side), `kid_subsets`, `kid_subset_size`;
            `precision`, `recall`, `f_score`, `density`, `coverage` and their numbers of neighbours. Means over
            sampling seeds where there are several.
        generated, real: what the two sides are.
        warnings: sentences about what makes the figures hard to compare.
        spread: over the sets that a model drew with other seeds, by figure: `values`, their `mean` and `deviation`
            (divided by the number of sets - 1), and `seeds`, the first of each set; None where there is one set.
        floor: the same metric between two disjoint sets of real images, see `celebgen_cli.evaluation.floor`; or None.
    """

    metric: str
    figures: Figures
    generated: dict[str, Any]
    real: dict[str, Any]
    warnings: tuple[str, ...]
    spread: dict[str, Any] | None = None
    floor: dict[str, Any] | None = None

    @property
    def fid(self) -> float:
        """The Frechet distance; KeyError where it was not measured."""
        return float(self.figures["fid"])

    @property
    def kid(self) -> float | None:
        """The kernel distance, None where a side has no features."""
        return self.figures.get("kid")

    @property
    def kid_deviation(self) -> float | None:
        """Its standard deviation over subsets; None where a subset is all of a side."""
        return self.figures.get("kid_deviation")

    @property
    def kid_subsets(self) -> int | None:
        """How many subsets."""
        return self.figures.get("kid_subsets")

    @property
    def kid_subset_size(self) -> int | None:
        """Of how many images a side."""
        return self.figures.get("kid_subset_size")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        sides = {"generated": self.generated, "real": self.real, "warnings": list(self.warnings)}
        return {"metric": self.metric, **self.figures, "spread": self.spread, "floor": self.floor, **sides}


def fid_figures(generated: Statistics, real: Statistics) -> Figures:
    """`fid`, and KID's figures, which are None where a side has no features."""
    kid = generated.features is not None and real.features is not None
    names = ("kid", "kid_deviation", "kid_subsets", "kid_subset_size")
    return {"fid": frechet_distance(generated, real), **(kid_figures(generated, real) if kid else dict.fromkeys(names))}


def kid_figures(generated: Statistics, real: Statistics) -> Figures:
    """`kid`, `kid_deviation` (None where a subset is all of a side), `kid_subsets`, `kid_subset_size`.

    Raises:
        CelebgenError: a side has no features.
    """
    a, b = _features(generated, real, "KID")
    size = min(KID_SUBSET_SIZE, generated.n, real.n)
    mean, deviation = kernel_distance(a, b, subset_size=size)
    whole = size == min(generated.n, real.n)  # all subsets hold the same images of a side, and cannot say how it varies
    figures = {"kid": mean, "kid_deviation": None if whole else deviation}
    return {**figures, "kid_subsets": KID_SUBSETS, "kid_subset_size": size}


def prc_figures(generated: Statistics, real: Statistics) -> Figures:
    """`precision`, `recall`, `f_score`, `density`, `coverage`, `neighbors` and `coverage_neighbors`.

    Raises:
        CelebgenError: a side has no features, or fewer images than a neighbourhood.
    """
    a, b = _features(generated, real, "precision and recall")
    if min(len(a), len(b)) <= COVERAGE_NEIGHBORS:
        raise CelebgenError(
            f"precision and recall need more than {COVERAGE_NEIGHBORS} images a side, not {min(len(a), len(b))}"
        )
    numbers = {"neighbors": PRC_NEIGHBORS, "coverage_neighbors": COVERAGE_NEIGHBORS}
    return {**precision_recall(a, b), **density_coverage(a, b), **numbers}


def fd_figures(generated: Statistics, real: Statistics) -> Figures:
    """`fd`: the Frechet distance over features that are not Inception's."""
    return {"fd": frechet_distance(generated, real)}


def _only_fid(generated: Statistics, real: Statistics) -> Figures:
    return fid_figures(replace(generated, features=None), real)


METRICS: Mapping[str, Metric] = {
    "fid": fid_figures, "fid only": _only_fid, "kid": kid_figures, "prc": prc_figures, "fd": fd_figures,
}  # fmt: skip
"""By name; "fid only" is FID without KID."""

DEVIATING = ("fid", "fd", "kid", "precision", "recall", "f_score", "density", "coverage")
"""Figures that differ between sets drawn with other seeds."""


def measure(
    generated: Statistics | Sequence[Statistics], real: Statistics, *, metric: str = "fid", kid: bool = True
) -> FidResult:
    """The figures of a metric between generated and real images.

    Args:
        generated: one set, or several that were drawn with other seeds: figures are then means over them.
        metric: a name of `METRICS`.
        kid: whether "fid" is to have KID too.

    Raises:
        CelebgenError: the sides were made with different networks, or lack what the metric needs.
    """
    sets = [generated] if isinstance(generated, Statistics) else list(generated)
    for some in sets:
        check_network(some, real)
    function = METRICS["fid only" if metric == "fid" and not kid else metric]
    each = [function(some, real) for some in sets]
    figures = dict(each[0])
    spread: dict[str, Any] | None = None
    if len(sets) > 1:
        spread = {"seeds": [some.info.get("settings", {}).get("seed") for some in sets]}
        for name in DEVIATING:
            if figures.get(name) is not None:
                values = [float(one[name]) for one in each]
                figures[name] = float(np.mean(values))
                spread[name] = {"values": values, "mean": figures[name], "deviation": float(np.std(values, ddof=1))}
        if figures.get("kid_deviation") is not None:
            figures["kid_deviation"] = float(np.mean([one["kid_deviation"] for one in each]))
    warnings = caveats(sets[0], real, metric)
    return FidResult(metric, figures, dict(sets[0].info), dict(real.info), tuple(warnings), spread)


def caveats(generated: Statistics, real: Statistics, metric: str = "fid") -> list[str]:
    """Sentences about what keeps a figure from being compared with others."""
    out = []
    sides = (("generated", generated), ("real", real))
    for name, side in sides:
        if metric in ("fid", "fd") and side.n <= len(side.mean):
            out.append(
                f"the {name} side has {side.n} images, no more than the {len(side.mean)} dimensions of a feature: "
                f"{metric.upper()} is far too high at this N"
            )
        if metric == "kid" and side.n <= KID_SUBSET_SIZE:
            out.append(
                f"the {name} side has {side.n} images, no more than the {KID_SUBSET_SIZE:,} of a subset of KID: "
                "the deviation over subsets is not known at this N"
            )
        if metric == "prc" and side.n < KID_SUBSET_SIZE:
            out.append(f"the {name} side has {side.n} images: at so few, precision and recall are far from their limit")
        if side.info.get("lossy"):
            out.append(f"the {name} images went through a lossy format (JPEG, WebP or AVIF), which moves FID")
    if generated.n != real.n:
        out.append(f"N differs ({generated.n} and {real.n}): compare only with figures at these N")
    for what in ("size", "crop"):
        a, b = generated.info.get(what), real.info.get(what)
        if a is not None and b is not None and a != b:
            out.append(f"the {what} differs ({a} and {b}): part of the figure is this difference")
    return out


def check_network(generated: Statistics, real: Statistics) -> None:
    """Make sure that both sides were made with the same network.

    Raises:
        CelebgenError: they were not, by their names or by the probe that they carry.
    """
    a, b = generated.info, real.info
    for what in ("network", "layer"):
        if a.get(what) != b.get(what):
            raise CelebgenError(
                f"the two sides were made with different features ({a.get(what)} and {b.get(what)}); "
                "make both with one network"
            )
    probes = a.get("probe"), b.get("probe")
    if all(isinstance(values, Sequence) for values in probes):
        one, other = (np.asarray(values, dtype=np.float64) for values in probes)
        if one.shape != other.shape or not np.allclose(one, other, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
            raise CelebgenError(
                "the statistics were made with other Inception weights than these; use torch-fidelity's own file "
                "(weights-inception-2015-12-05) for both sides"
            )


def _features(generated: Statistics, real: Statistics, what: str) -> tuple[np.ndarray, np.ndarray]:
    if generated.features is None or real.features is None:
        raise CelebgenError(
            f"{what} needs the features of every image, and a side is statistics without them: name its images, or "
            "make the file again with `celebgen evaluate stats --features`"
        )
    return generated.features, real.features
