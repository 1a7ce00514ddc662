"""The figures of a report by name: where each stands in what was measured, which way is better, and conditions."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celebgen_cli.errors import UsageError


@dataclass(frozen=True)
class Figure:
    """A figure that reports have.

    Attributes:
        title: how tables call it. part: the part of a report that measures it.
        lower: whether lower is better. form: how it is written.
        find: takes what the part measured and gives the value, None where there is none.
    """

    title: str
    part: str
    lower: bool
    form: str
    find: Callable[[Mapping[str, Any]], float | None]


def _at(*path: str) -> Callable[[Mapping[str, Any]], float | None]:
    def find(measured: Mapping[str, Any]) -> float | None:
        value: Any = measured
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return None if value is None else float(value)

    return find


def _most(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    """The highest over the spaces of memorization, which is the one to worry about."""

    def find(measured: Mapping[str, Any]) -> float | None:
        values = [space[name] for space in (measured.get("spaces") or {}).values() if space.get(name) is not None]
        return float(max(values)) if values else None

    return find


FIGURES: dict[str, Figure] = {
    "fid": Figure("FID", "fid", True, "{:.2f}", _at("fid")),
    "kid": Figure("KID", "fid", True, "{:.5f}", _at("kid")),
    "precision": Figure("Precision", "prc", False, "{:.4f}", _at("precision")),
    "recall": Figure("Recall", "prc", False, "{:.4f}", _at("recall")),
    "density": Figure("Density", "prc", False, "{:.4f}", _at("density")),
    "coverage": Figure("Coverage", "prc", False, "{:.4f}", _at("coverage")),
    "obedience": Figure("Obedience", "attributes", False, "{:.3f}", _at("obedience")),
    "hit": Figure("Attributes shown as asked", "attributes", False, "{:.3f}", _at("hit")),
    "clip_score": Figure("CLIP score", "text", False, "{:.3f}", _at("score")),
    "r_precision": Figure("R-precision", "text", False, "{:.3f}", _at("r_precision")),
    "psnr": Figure("PSNR of reconstructions, dB", "reconstruction", False, "{:.2f}", _at("psnr")),
    "ssim": Figure("SSIM of reconstructions", "reconstruction", False, "{:.4f}", _at("ssim")),
    "lpips": Figure("LPIPS of reconstructions", "reconstruction", True, "{:.4f}", _at("lpips")),
    "rfid": Figure("FID of reconstructions", "reconstruction", True, "{:.2f}", _at("rfid")),
    "prior_nll": Figure("Prior: nats a dimension", "reconstruction", True, "{:.4f}", _at("prior", "nll")),
    "prior_explained": Figure(
        "Prior: variance explained", "reconstruction", False, "{:.4f}", _at("prior", "variance_explained")
    ),
    "prior_fid": Figure("FID of the prior alone", "reconstruction", True, "{:.2f}", _at("prior", "fid")),
    "copied": Figure("Share suspiciously near a training picture", "memorization", True, "{:.4f}",
                     _most("below_1_percent")),
    "nearer": Figure("Chance to be nearer to training than new photographs", "memorization", True, "{:.3f}",
                     _most("nearer")),
    "diversity": Figure("Diversity within a prompt, of photographs'", "memorization", False, "{:.3f}",
                        _at("diversity", "ratio")),
}  # fmt: skip
"""Every figure by the name that conditions use, in the order of reports."""

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def figures_of(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The figures that the measured parts have, by name."""
    found = {
        name: value
        for name, figure in FIGURES.items()
        if figure.part in parts and (value := figure.find(parts[figure.part])) is not None
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


@dataclass(frozen=True)
class Condition:
    """Such as `fid>25`."""

    name: str
    sign: str
    limit: float

    def __str__(self) -> str:
        short = f"{self.limit:g}"
        return f"{self.name}{self.sign}{short if float(short) == self.limit else self.limit}"

    def holds(self, figures: Mapping[str, float]) -> bool | None:
        """Whether it is true of these figures; None where they lack the one that it is about."""
        value = figures.get(self.name)
        return None if value is None else OPERATORS[self.sign](value, self.limit)


def parse_condition(text: str, parts: Sequence[str]) -> Condition:
    """The condition that a text spells, about a figure of one of these parts.

    Raises:
        UsageError: it reads otherwise, or there is no such figure.
    """
    match = re.fullmatch(r"\s*([A-Za-z_]+)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*", text)
    try:
        limit = float(match[3]) if match else math.nan
    except ValueError:
        limit = math.nan
    if match is None or not math.isfinite(limit):
        raise UsageError(
            f"--fail-if takes a figure, one of {' '.join(OPERATORS)} and a number, such as fid>25, not '{text[:60]}'"
        )
    known = [name for name, figure in FIGURES.items() if figure.part in parts]
    if match[1] not in known:
        raise UsageError(f"--fail-if knows no figure '{match[1][:40]}' here; the figures are {', '.join(known)}")
    return Condition(match[1], match[2], limit)


@dataclass(frozen=True)
class Difference:
    """A figure in two reports.

    Attributes:
        verdict: "better", "worse" or "same".
    """

    name: str
    value: float
    other: float
    verdict: str

    @property
    def change(self) -> float:
        """This report's less the other's."""
        return self.value - self.other

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"value": self.value, "other": self.other, "change": self.change, "verdict": self.verdict}


def differences(figures: Mapping[str, float], other: Mapping[str, Any]) -> list[Difference]:
    """The figures that both reports have, judged by each one's direction."""
    found = []
    for name, value in figures.items():
        before = other.get(name)
        if name in FIGURES and isinstance(before, int | float) and not isinstance(before, bool):
            better = value < before if FIGURES[name].lower else value > before
            verdict = "same" if value == before else "better" if better else "worse"
            found.append(Difference(name, value, float(before), verdict))
    return found
