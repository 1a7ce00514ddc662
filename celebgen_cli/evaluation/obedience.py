"""How far answers agree with what was asked: shares, the floor of luck, the ceiling of real faces, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DRAWS = 1000
"""Resamples of the bootstrap (Efron & Tibshirani 1993, chapter 13: percentile intervals)."""


@dataclass(frozen=True)
class Tally:
    """Figures over some prompts, or over some of what they name.

    Attributes:
        n: prompts.
        named: attributes that they name, together.
        hit: share of these that the generated faces show as named.
        ceiling: the same of real faces that have what is named, by the same judge, which errs.
        floor: the same of the generated faces against prompts that are not theirs.
        obedience: (hit - floor) / (ceiling - floor), or None where the ceiling is not above the floor.
        of_ceiling: hit / ceiling, or None.
    """

    n: int
    named: int
    hit: float
    ceiling: float
    floor: float
    obedience: float | None
    of_ceiling: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Score:
    """What is known of every prompt and attribute: four arrays [N, 40]; `hit`, `ceiling` and `floor` count where named.

    Attributes:
        named: int8, see `celebgen_cli.evaluation.asking.Asked`.
        hit: 1 where the face shows what is named, else 0.
        ceiling: share of real faces with what is named that the judge answers so about.
        floor: share of the other prompts' faces that show it.
    """

    named: np.ndarray
    hit: np.ndarray
    ceiling: np.ndarray
    floor: np.ndarray

    def tally(self, where: np.ndarray | None = None) -> Tally | None:
        """Figures where bool [N, 40] or [N, 1] holds (None: everywhere); None where nothing is named there."""
        counted = self._counted(where)
        named = int(counted.sum())
        if not named:
            return None
        hit, ceiling, floor = (float(part[counted].mean()) for part in (self.hit, self.ceiling, self.floor))
        return Tally(
            int(counted.any(axis=1).sum()), named, hit, ceiling, floor,
            share_of_way(hit, floor, ceiling), hit / ceiling if ceiling > 0 else None,
        )  # fmt: skip

    def intervals(
        self, units: Sequence[int], seed: int, where: np.ndarray | None = None
    ) -> dict[str, tuple[float, float] | None]:
        """95 % intervals of hit, ceiling, floor and obedience: a bootstrap over units of prompts that belong together.

        Args:
            units: [N], which unit each prompt is of.
        """
        counted = self._counted(where)
        _, place = np.unique(np.asarray(units), return_inverse=True)
        sums = np.zeros((place.max() + 1, 4))
        for column, part in enumerate((counted, self.hit, self.ceiling, self.floor)):
            np.add.at(sums[:, column], place, (part * counted).sum(axis=1))
        rng, count = np.random.default_rng([seed, 41]), len(sums)
        drawn = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) @ sums for _ in range(DRAWS)])
        drawn = drawn[drawn[:, 0] > 0]
        hit, ceiling, floor = (drawn[:, 1:] / drawn[:, :1]).T
        apart = ceiling > floor
        obedience = (hit - floor)[apart] / (ceiling - floor)[apart]
        parts = {"hit": hit, "ceiling": ceiling, "floor": floor, "obedience": obedience}
        return {name: _percentiles(values) for name, values in parts.items()}

    def _counted(self, where: np.ndarray | None) -> np.ndarray:
        counted = self.named != 0
        return counted if where is None else counted & where


def score(
    named: np.ndarray, answers: np.ndarray, ceiling: np.ndarray, groups: np.ndarray, units: Sequence[int]
) -> Score:
    """Compare answers with what was asked, and with what was asked of other faces.

    The floor of a named attribute is the expectation of a shuffle: the share of its group's faces of other units that
    show it, for those of its own were asked for the same in other words. Where there are none the floor is one half.

    Args:
        named: int8 [N, 40]. answers: bool [N, 40], what the judge sees in each face.
        ceiling: float [N, 40], see `Score`. groups: int [N]; faces are shuffled within each.
        units: [N], which unit each prompt is of.
    """
    wanted = named > 0
    floor = np.full(named.shape, 0.5)
    for group in np.unique(groups):
        here = groups == group
        _, unit = np.unique(np.asarray(units)[here], return_inverse=True)
        shown, count = np.zeros((unit.max() + 1, named.shape[1])), np.bincount(unit)
        np.add.at(shown, unit, answers[here])
        others = len(unit) - count
        if others.all():
            present = ((shown.sum(axis=0) - shown) / others[:, None])[unit]
            floor[here] = np.where(wanted[here], present, 1 - present)
    return Score(named, (answers == wanted).astype(np.float64), ceiling.astype(np.float64), floor)


def thresholds(sure: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """From where on an answer is a yes [40], so that of each attribute a judge says it as often as the labels do.

    A rare attribute that is hard to see, such as a necklace, is never more likely than not, and at one half no face
    would have it. Where labels are all alike the threshold is one half.

    Args:
        sure: float [N, 40], how sure the judge is of real faces. labels: int8 [N, 40] of these, 0 where unknown.
    """
    found = np.full(sure.shape[1], 0.5)
    for i in range(len(found)):
        known = labels[:, i] != 0
        scores, absent = np.sort(sure[known, i]), int((labels[known, i] < 0).sum())
        if 0 < absent < len(scores):
            found[i] = (scores[absent - 1].astype(float) + scores[absent]) / 2
    return found


def share_of_way(hit: float, floor: float, ceiling: float) -> float | None:
    """Where between floor (0) and ceiling (1) a share lies; None where there is no way between them."""
    return (hit - floor) / (ceiling - floor) if ceiling - floor > 1e-9 else None


def _percentiles(values: np.ndarray) -> tuple[float, float] | None:
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
