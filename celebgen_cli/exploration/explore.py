"""Everything that is found out about a dataset: the figures as plain JSON, and the arrays that the page draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from celebgen_cli import __version__
from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.exploration import duplicates, statistics
from celebgen_cli.exploration.faces import Faces, measure_faces
from celebgen_cli.exploration.parts import Parts

Progress = Callable[[str, int, int], None]
"""Receives what is being done, how much of it is done, and how much there is."""

MADE_CAPTIONS = 2000
EXAMPLES = 8


@dataclass(frozen=True)
class Exploration:
    """What `explore` found.

    Attributes:
        figures: plain numbers and text, ready for JSON.
        together: counts and correlations of attributes.
        found: duplicates by their rows.
        landmarks: float32 [N, 5, 2], NaN where unknown; None where no part has any.
        captions: (row, caption) of a few rows.
    """

    parts: Parts
    faces: Faces
    together: statistics.Together
    found: duplicates.Duplicates
    landmarks: np.ndarray | None
    captions: list[tuple[int, str]]
    figures: dict[str, Any]


def explore(parts: Parts, progress: Progress | None = None) -> Exploration:
    """Find out everything about the splits that `open_parts` opened."""

    def report(what: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(what, done, total) if progress else None

    faces = measure_faces(parts, report("read images"))
    found = duplicates.find_duplicates(faces.digests, faces.descriptors, parts.images, report("compare pairs"))
    table = statistics.together(parts.attributes)
    landmarks = _landmarks(parts)
    captions, examples = _captions(parts)
    figures = {
        "celebgen": __version__,
        "datasets": [
            {
                "path": str(dataset.path),
                "images": sum(int(dataset.info["counts"][name]) for name in dataset.splits),
                "lossy_source": bool(dataset.info.get("lossy_source", False)),
            }
            for dataset in parts.datasets
        ],
        "images": len(parts),
        "size": parts.size,
        "crop": parts.crop,
        "splits": {
            part.label: {
                "images": len(part),
                "people": statistics.people(part.split.identity),
                "pixels": statistics.channels(faces.histograms[i]),
            }
            for i, part in enumerate(parts.parts)
        },
        "pixels": statistics.channels(faces.histograms.sum(0)),
        "attributes": _attributes(parts),
        "correlations": _correlations(table),
        "surprises": _surprises(table),
        "people": _people(parts),
        "landmarks": None if landmarks is None else statistics.landmark_figures(landmarks),
        "captions": captions,
        "duplicates": _duplicates(parts, found),
    }
    return Exploration(parts, faces, table, found, landmarks, examples, figures)


def _attributes(parts: Parts) -> dict[str, Any] | None:
    """Frequencies over all rows and in each split; None where nothing is known."""
    if not parts.attributes.any():
        return None
    whole = statistics.frequencies(parts.attributes)
    by_part = {part.label: statistics.frequencies(part.split.attributes) for part in parts.parts}
    return {
        name: {**entry, "splits": {label: of[name]["share"] for label, of in by_part.items()}}
        for name, entry in whole.items()
    }


def _correlations(table: statistics.Together) -> dict[str, Any] | None:
    if not table.known.any():
        return None
    phi = [[None if np.isnan(value) else float(value) for value in row] for row in table.phi]
    return {"names": list(ATTRIBUTES), "phi": phi}


def _surprises(table: statistics.Together) -> dict[str, Any] | None:
    if not table.known.any():
        return None
    found = statistics.surprises(table)
    return {
        "rule": {
            "min_expected": statistics.MIN_COUNT,
            "significance": statistics.SIGNIFICANCE,
            "pairs": found.pairs,
            "z": found.z,
        },
        "above": [asdict(pair) for pair in found.above],
        "below": [asdict(pair) for pair in found.below],
    }


def _people(parts: Parts) -> dict[str, Any] | None:
    """Over all rows, and who is in more than one split; None where nobody is known."""
    found = statistics.people(parts.identity)
    if found is None:
        return None
    shared = statistics.shared_people([part.split.identity for part in parts.parts])
    sets = [np.unique(part.split.identity[part.split.identity >= 0]) for part in parts.parts]
    met = np.unique(np.concatenate(sets), return_counts=True)[1]
    return {
        **found,
        "in_several_splits": int((met > 1).sum()),
        "shared": [
            {"splits": [parts.parts[i].label, parts.parts[j].label], "people": count}
            for (i, j), count in shared.items()
        ],
    }


def _landmarks(parts: Parts) -> np.ndarray | None:
    """Landmarks of all rows, NaN for parts without any."""
    arrays = [part.split.landmarks for part in parts.parts]
    if all(array is None for array in arrays):
        return None
    pairs = zip(parts.parts, arrays, strict=True)
    return np.concatenate(
        [np.full((len(part), 5, 2), np.nan, np.float32) if array is None else array for part, array in pairs]
    )


def _captions(parts: Parts) -> tuple[dict[str, Any] | None, list[tuple[int, str]]]:
    """Figures of the stored captions, else of those that attributes make, and a few examples of them."""
    stored = [part.split.captions for part in parts.parts if part.split.captions is not None]
    whole = np.flatnonzero((parts.attributes != 0).all(1))
    made = whole[_spread(len(whole), MADE_CAPTIONS)].tolist()
    total = sum(captions.total for captions in stored) if stored else len(made)
    picks = set(_spread(total, EXAMPLES).tolist())
    examples: list[tuple[int, str]] = []

    def texts() -> Iterator[str]:
        for i, (row, text) in enumerate(_stored(parts) if stored else _made(parts, made)):
            if i in picks:
                examples.append((row, text))
            yield text

    figures = statistics.caption_figures(texts())
    if figures is None:
        return None, []
    source = "stored" if stored else "made from attributes"
    told = [{**_place(parts, row), "caption": text} for row, text in examples]
    return {"source": source, **figures, "examples": told}, examples


def _stored(parts: Parts) -> Iterator[tuple[int, str]]:
    for part in parts.parts:
        captions = part.split.captions
        if captions is not None:
            for row in range(len(part)):
                for text in captions.of(row):
                    yield part.first + row, text


def _made(parts: Parts, rows: list[int]) -> Iterator[tuple[int, str]]:
    from celebgen_cli.data.captions import describe

    for row in rows:
        yield row, describe(parts.attributes[row], row).text


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` of 0 to count - 1, spread evenly, int [M]."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _place(parts: Parts, row: int) -> dict[str, str]:
    part, inside = parts.place(row)
    return {"split": part.label, "name": part.name_of(inside)}


def _duplicates(parts: Parts, found: duplicates.Duplicates) -> dict[str, Any]:
    """Every duplicate by split and name, and how many pairs there are within and across splits."""

    def labels(rows: list[int]) -> dict[str, Any]:
        """Whether the labels of pictures that are the same say the same; None where they are not known."""
        people, values = parts.identity[rows], parts.attributes[rows]
        known = (values != 0).all(0)
        return {
            "same_person": bool((people == people[0]).all()) if (people >= 0).all() else None,
            "attributes_differ": int((values != values[0]).any(0)[known].sum()) if known.any() else None,
        }

    def label(i: int) -> str:
        return parts.parts[i].label

    near = [
        {
            "first": _place(parts, pair.a), "second": _place(parts, pair.b), "distance": pair.distance,
            "mirrored": pair.mirrored, **labels([pair.a, pair.b]),
        }
        for pair in found.near
    ]  # fmt: skip
    identical = [{"images": [_place(parts, row) for row in rows], **labels(rows)} for rows in found.identical]
    counts = duplicates.count_pairs(found, parts.part_of)
    return {
        "complete": found.complete,
        "rule": {
            "descriptor_distance": duplicates.RADIUS, "pixel_distance": duplicates.DISTANCE,
            "contrast": duplicates.CONTRAST,
        },
        "pairs": [{"splits": [label(i), label(j)], **count} for (i, j), count in counts.items()],
        "identical": identical,
        "near": near,
    }  # fmt: skip
