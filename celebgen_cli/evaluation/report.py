"""A report as JSON: what was measured, what was left out and why, another report beside it, and conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celebgen_cli import __version__
from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.figures import Condition, differences, figures_of
from celebgen_cli.evaluation.report_parts import Measured
from celebgen_cli.evaluation.statistics import tool_versions
from celebgen_cli.files import read_json

FORMAT = "celebgen-report"
FORMAT_VERSION = 1

def to_json(
    measured: Measured, other: Mapping[str, Any] | None = None, conditions: Sequence[Condition] = ()
) -> dict[str, Any]:
    """The report as JSON values; `other` is what `read_report` gave for the one that it is compared with."""
    figures = figures_of(measured.parts)
    value: dict[str, Any] = {
        "format": FORMAT, "format_version": FORMAT_VERSION, "celebgen": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "generated": measured.generated, "figures": figures,
        "parts": {name: _without_paths(part) for name, part in measured.parts.items()},
        "left_out": dict(measured.left_out), "warnings": _warnings(measured.parts), "versions": tool_versions(),
    }  # fmt: skip
    if other is not None:
        value["against"] = {
            "generated": other.get("generated"), "made": other.get("made"),
            "differences": {one.name: one.to_dict() for one in differences(figures, other["figures"])},
            "only_here": [name for name in figures if name not in other["figures"]],
            "only_there": [name for name in other["figures"] if name not in figures],
            "conditions_differ": conditions_that_differ(measured.parts, other["parts"]),
        }  # fmt: skip
    if conditions:
        value["fail_if"] = {str(condition): condition.holds(figures) for condition in conditions}
    return value


def failure(conditions: Sequence[Condition], value: Mapping[str, Any]) -> str | None:
    """One sentence where a condition holds, or cannot be decided; None where all is well."""
    figures, left_out = value["figures"], value["left_out"]
    reasons = []
    for condition in conditions:
        holds = condition.holds(figures)
        if holds:
            reasons.append(f"{condition} holds, {condition.name} is {figures[condition.name]:.6g}")
        elif holds is None:
            reasons.append(f"{condition} cannot be decided, for {condition.name} was not measured")
    if reasons and left_out and any("measured" in reason for reason in reasons):
        reasons.append(f"left out are {', '.join(left_out)}")
    return "; ".join(reasons) or None


def read_report(path: Path) -> dict[str, Any]:
    """The JSON of another report.

    Raises:
        CelebgenError: it is missing, or no report of this format version.
    """
    value = read_json(path)
    good = isinstance(value, dict) and value.get("format") == FORMAT
    if not good or not all(isinstance(value.get(name), dict) for name in ("figures", "parts")):
        raise CelebgenError(f"{path} is no report; give the JSON file that `celebgen evaluate report` wrote")
    if value.get("format_version") != FORMAT_VERSION:
        raise CelebgenError(
            f"{path} has report format version {value.get('format_version')} and this celebgen reads {FORMAT_VERSION}; "
            "make that report again"
        )
    return value


NAMES = "names"  # at the end of a path: what there is, not what it says
CONDITIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "fid": (
        ("generated", "n"), ("real", "n"), ("real", "source"), ("real", "fingerprint"), ("real", "size"),
        ("real", "crop"), ("real", "weights_sha256"),
    ),
    "prc": (
        ("generated", "n"), ("real", "n"), ("real", "source"), ("real", "fingerprint"), ("real", "weights_sha256"),
        ("neighbors",), ("coverage_neighbors",),
    ),
    "attributes": (("faces",), ("real",), ("judge", "sha256")),
    "text": (("n",), ("clip_sha256",), ("candidates",), ("distractors",)),
    "reconstruction": (("n",), ("source",)),
    "memorization": (
        ("n",), ("n_train",), ("train",), ("held_out",), ("spaces", NAMES), ("diversity", "distance"),
    ),
}
"""What must be equal for the figures of two reports to be compared, by part."""


def conditions_that_differ(parts: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Sentences about what keeps two reports from being compared."""

    def at(part: Any, path: tuple[str, ...]) -> Any:
        for name in path:
            part = part if isinstance(part, Mapping) else {}
            part = sorted(part) if name == NAMES else part.get(name)
        return part

    found = []
    for name, paths in CONDITIONS.items():
        if name in parts and name in other:
            for path in paths:
                a, b = at(parts[name], path), at(other[name], path)
                if a != b:
                    found.append(f"{name}: {' '.join(path).removesuffix(f' {NAMES}')} differs ({a} and {b})")
    return found


def _warnings(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(text) for part in parts.values() for text in part.get("warnings") or ()))


def _without_paths(value: Any) -> Any:
    """The same without files of the working folder, which is gone when somebody reads this."""
    if isinstance(value, Mapping):
        gone: dict[str, Any] = {"path": None, "pictures": [], "pairs": None}
        return {name: gone[name] if name in gone else _without_paths(part) for name, part in value.items()}
    return [_without_paths(part) for part in value] if isinstance(value, list | tuple) else value
