"""Do the annotation files belong together? Differences are told as sentences; nothing is guessed or mended."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from celebgen_cli.data.annotations import tables
from celebgen_cli.data.annotations.files import PARTITIONS, AnnotationFiles
from celebgen_cli.data.annotations.tables import Attributes, Boxes, Landmarks, Numbers
from celebgen_cli.data.crops import ALIGNED_SIZE

EXAMPLES = 3  # images that a sentence names
OFFICIAL = {0: 162_770, 1: 19_867, 2: 19_962}
"""Images of *train*, *valid* and *test* in the official partition of all 202,599."""


@dataclass(frozen=True)
class Tables:
    """What the annotation files hold; None where there is no such file, or where it was not read."""

    attributes: Attributes | None = None
    partition: Numbers | None = None
    identity: Numbers | None = None
    landmarks: Landmarks | None = None
    boxes: Boxes | None = None


def read_all(files: AnnotationFiles) -> Tables:
    """Read every file that is there.

    Raises:
        CelebgenError: one of them cannot be read as what it should be; the sentence names the file and the line.
    """
    return Tables(
        attributes=None if files.attributes is None else tables.read_attributes(files.attributes),
        partition=None if files.partition is None else tables.read_partition(files.partition),
        identity=None if files.identity is None else tables.read_identity(files.identity),
        landmarks=None if files.landmarks is None else tables.read_landmarks(files.landmarks),
        boxes=None if files.boxes is None else tables.read_boxes(files.boxes),
    )


def cross_check(files: AnnotationFiles, read: Tables | None = None) -> list[str]:
    """Compare the files with each other and with what is known of CelebA.

    Column names, attribute values and partition codes are checked when the files are read. Here: that all name the same
    images, that landmarks lie inside the aligned image and boxes have a size and no negative corner (how large the
    photographs were is not known), that nobody is in two partitions, and that a whole partition is the official one.

    Args:
        files: where they lie; sentences use the files' names.
        read: what they hold, so that they are not read twice.

    Returns:
        One sentence a difference; empty where there is none.

    Raises:
        CelebgenError: as `read_all`, where `read` is not given.
    """
    read = read_all(files) if read is None else read
    names: dict[str, str] = {}
    found: dict[str, np.ndarray] = {}
    for field in fields(Tables):
        table, path = getattr(read, field.name), getattr(files, field.name)
        if table is not None:
            names[field.name] = field.name if path is None else Path(path).name
            found[field.name] = table.ids
    sentences = _same_images(names, found)
    if read.partition is not None:
        sentences += _partition(names["partition"], read.partition)
        if read.identity is not None:
            sentences += _people_apart(names["identity"], read.identity, read.partition)
    if read.landmarks is not None:
        sentences += _landmarks(names["landmarks"], read.landmarks)
    if read.boxes is not None:
        sentences += _boxes(names["boxes"], read.boxes)
    return sentences


def _same_images(names: dict[str, str], found: dict[str, np.ndarray]) -> list[str]:
    """Every file against the first, in both directions."""
    sentences = []
    first = next(iter(found), "")
    for kind, ids in list(found.items())[1:]:
        for here, there, have, lack in ((first, kind, found[first], ids), (kind, first, ids, found[first])):
            absent = np.setdiff1d(have, lack, assume_unique=True)
            if len(absent):
                sentences.append(f"{names[there]} has no row for {_images(absent)} of {names[here]}")
    return sentences


def _partition(name: str, partition: Numbers) -> list[str]:
    if len(partition) != sum(OFFICIAL.values()):
        return []  # a part of CelebA, of which nothing is known
    return [
        f"{name} puts {count:,} images into {PARTITIONS[code]} and the official one {OFFICIAL[code]:,}"
        for code in OFFICIAL
        if (count := int((partition.values == code).sum())) != OFFICIAL[code]
    ]


def _people_apart(name: str, identity: Numbers, partition: Numbers) -> list[str]:
    """The official partition keeps each person's images together, so that no face of *valid* was trained on."""
    codes = tables.look_up(partition, identity.ids)
    known = codes >= 0
    pairs = np.unique(np.stack([identity.values[known], codes[known]]), axis=1)
    people, times = np.unique(pairs[0], return_counts=True)
    torn = people[times > 1]
    if not len(torn):
        return []
    subject = "1 person is" if len(torn) == 1 else f"{len(torn):,} people are"
    listed = ", ".join(map(str, torn[:EXAMPLES].tolist())) + (", ..." if len(torn) > EXAMPLES else "")
    return [f"by {name}, {subject} in more than one partition (identity {listed})"]


def _landmarks(name: str, landmarks: Landmarks) -> list[str]:
    sentences = []
    size = np.array(ALIGNED_SIZE)
    outside = ((landmarks.values < 0) | (landmarks.values >= size)).any(axis=(1, 2))
    if outside.any():
        sentences.append(
            f"{name} has points outside of the {size[0]}x{size[1]} aligned image for {_images(landmarks.ids[outside])}"
        )
    left, right = landmarks.values[:, 0, 0], landmarks.values[:, 1, 0]
    if (left > right).sum() * 2 > len(landmarks):  # a turned head swaps a few, swapped columns nearly all
        sentences.append(
            f"{name} has the left eye right of the right eye in most images: left and right are the viewer's, and "
            "here they seem to be exchanged"
        )
    return sentences


def _boxes(name: str, boxes: Boxes) -> list[str]:
    sentences = []
    for what, wrong in (
        ("boxes without width or height", (boxes.values[:, 2:] <= 0).any(axis=1)),
        ("boxes with a negative corner", (boxes.values[:, :2] < 0).any(axis=1)),
    ):
        if wrong.any():
            sentences.append(f"{name} has {what} for {_images(boxes.ids[wrong])}")
    return sentences


def _images(ids: np.ndarray) -> str:
    """How many images, and the first few of them."""
    listed = ", ".join(f"{number:06d}" for number in ids[:EXAMPLES].tolist())
    more = ", ..." if len(ids) > EXAMPLES else ""
    return f"{len(ids):,} image{'s' if len(ids) != 1 else ''} ({listed}{more})"
