"""Which image goes to which row of which split, and what is known of it: decided before any pixel is read.

Two kinds of sources: CelebA, whose images are matched with annotations by number, and people's own pictures, which have
names and may have captions.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from celebgen_cli.data import annotations as notes
from celebgen_cli.data.alignment import similarity, transform_points
from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.metadata import MAX_BYTES as MAX_METADATA
from celebgen_cli.data.metadata import Metadata, read_metadata
from celebgen_cli.data.pixels import Item
from celebgen_cli.data.sources import (
    BadImage,
    Member,
    SourceReader,
    list_files,
    locate,
    only_images,
    only_unread,
    open_archive,
)
from celebgen_cli.errors import CelebgenError, UsageError, counted


@dataclass
class Plan:
    """N images in the order of their rows, splits mixed.

    Attributes:
        items: the images; `number` is what `ids` will hold.
        codes: int64 [N], 0 train, 1 valid, 2 test.
        attributes: int8 [N, 40], 0 where unknown.
        identity: int64 [N], -1 where unknown.
        landmarks: float32 [N, 5, 2] in the prepared image, NaN where unknown; None if none is known.
        captions: captions of each image; None if there is none at all.
        names: the name of each image; None where numbers say it.
        found: image files in all sources. repeats: files whose number had been met before.
        rejected: (source, name, reason) of images left out so far.
        rows_without_image: rows of the attribute file that no image belongs to; None without annotations.
        partition: "file" or "hash".
        annotations: the annotation files that were read, by kind.
        sentences: what a user should know: assumptions, and differences between files.
    """

    items: list[Item]
    codes: np.ndarray
    attributes: np.ndarray
    identity: np.ndarray
    landmarks: np.ndarray | None = None
    captions: list[tuple[str, ...]] | None = None
    names: list[str] | None = None
    found: int = 0
    repeats: int = 0
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    rows_without_image: int | None = None
    partition: str = "file"
    annotations: dict[str, Path] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: np.ndarray) -> Plan:
        """The plan with these rows only."""

        def some(values: list | None) -> list | None:
            return None if values is None else [values[row] for row in rows]

        return replace(
            self, items=[self.items[row] for row in rows], codes=self.codes[rows], attributes=self.attributes[rows],
            identity=self.identity[rows], landmarks=None if self.landmarks is None else self.landmarks[rows],
            captions=some(self.captions), names=some(self.names),
        )  # fmt: skip


@dataclass(frozen=True)
class Alignment:
    """Whether images are aligned by landmarks, and the file that has them (else the metadata beside the images)."""

    wanted: bool = False
    landmarks: Path | None = None


def plan(
    sources: Sequence[Path], annotations: Path | None, crop: str, size: int, alignment: Alignment, caption: str | None
) -> Plan:
    """Plan CelebA's images where there are annotations, else people's own pictures.

    Args:
        sources: folders and zip archives.
        annotations: folder with `list_attr_celeba`; None for own pictures.
        crop, size: as the images will be.
        alignment: whether and by which landmarks.
        caption: a caption for every image that has none.

    Raises:
        UsageError: a source that cannot be one, or an alignment without landmarks.
        CelebgenError: unusable annotations, metadata or archives, or no image to use.
    """
    with _no_collections():
        listed = [_list(source) for source in sources]
        chosen = _own(sources, listed) if annotations is None else _celeba(sources, listed, annotations, crop, size)
    unread = _unread(sources, listed)
    chosen.rejected += unread
    chosen.found += len(unread)
    if annotations is None and caption is None and chosen.captions is None and not alignment.wanted:
        _not_celeba(chosen, sources[0])
    if alignment.wanted:
        chosen = _aligned(chosen, sources, listed, alignment, crop, size)
    elif any(files_of.metadata.landmarks for files_of in listed):
        chosen.sentences.append("There are landmarks in the metadata; --align moves the faces by them.")
    if caption is not None:
        said = chosen.captions or [()] * len(chosen)
        chosen.captions = [captions or (caption,) for captions in said]
    if annotations is None and chosen.captions is None:
        chosen.sentences.append(
            "No caption was found (metadata.jsonl, metadata.csv or a .txt beside each image): these images teach only "
            "what a face looks like without words; --caption TEXT says the same of all."
        )
    return chosen


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """No search for garbage while some 10^5 small objects are made that all stay: it is a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass
class _Listed:
    images: list[str]
    places: list[Member | None]
    unread: list[str]  # pictures of other formats
    metadata: Metadata


def _list(source: Path) -> _Listed:
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(open_archive(source)) if Path(source).is_file() else None  # its list is long
        names = list_files(source, archive)
        images = only_images(names, source)
        places = locate(source, images, archive)
    with SourceReader([source]) as reader:

        def read(name: str) -> bytes:
            try:
                return reader.read(0, name, limit=MAX_METADATA)
            except BadImage as error:
                raise CelebgenError(f"{source.name}/{name}: {error}") from error

        return _Listed(images, places, only_unread(names), read_metadata(source.name, names, images, read))


def _celeba(sources: Sequence[Path], listed: list[_Listed], folder: Path, crop: str, size: int) -> Plan:
    files = notes.find_annotations(folder)
    if files.attributes is None:
        raise CelebgenError(
            f"{folder} has no list_attr_celeba.txt or .csv; get CelebA's annotation files or name their folder "
            "with --annotations"
        )
    tables = notes.read_all(files)
    attributes, partition, identity = tables.attributes, tables.partition, tables.identity
    assert attributes is not None
    found = repeats = 0
    taken: dict[int, Item] = {}
    rejected: list[tuple[str, str, str]] = []
    for index, (source, files_of) in enumerate(zip(sources, listed, strict=True)):
        for name, place in zip(files_of.images, files_of.places, strict=True):
            found += 1
            number = notes.image_number(name)
            if number is None:
                rejected.append((source.name, name, "the name is not a number, so no annotation belongs to it"))
            elif number in taken:
                repeats += 1
            else:
                taken[number] = Item(number, index, name, place)
    items = [taken[number] for number in sorted(taken)]
    numbers = np.array([item.number for item in items], dtype=np.int64)
    known = np.isin(numbers, attributes.ids)
    placed = np.ones(len(items), dtype=bool) if partition is None else np.isin(numbers, partition.ids)
    for row in np.flatnonzero(~(known & placed)):
        missing = "attribute" if not known[row] else "partition"
        rejected.append((sources[items[row].source].name, items[row].name, f"no row in the {missing} file"))
    items = [items[row] for row in np.flatnonzero(known & placed)]
    if not items:
        raise CelebgenError(
            f"none of the {found} images has a row in {files.attributes}; do they belong together? Pictures of your "
            "own are kept in a folder that has no annotations of CelebA in it, or in the two folders above it"
        )
    ids = np.array([item.number for item in items], dtype=np.int64)
    landmarks = None
    if tables.landmarks is not None:
        places = np.searchsorted(tables.landmarks.ids, ids).clip(max=len(tables.landmarks) - 1)
        have = tables.landmarks.ids[places] == ids
        points = np.where(have[:, None, None], tables.landmarks.values[places], np.nan)
        landmarks = transform_points(points + 0.5, crop, size, aligned=True).astype(np.float32)
    sentences = [f"{sentence}." for sentence in notes.cross_check(files, tables)]
    if partition is None:
        sentences.append("There is no partition file.")
    return Plan(
        items=items,
        codes=hash_partition(ids) if partition is None else notes.look_up(partition, ids),
        attributes=attributes.values[np.searchsorted(attributes.ids, ids)],
        identity=np.full(len(ids), -1, dtype=np.int64) if identity is None else notes.look_up(identity, ids),
        landmarks=landmarks,
        captions=_captions(items, listed),
        found=found,
        repeats=repeats,
        rejected=rejected,
        rows_without_image=len(attributes) - len(items),
        partition="file" if partition is not None else "hash",
        annotations={kind: path for kind in notes.NAMES if (path := getattr(files, kind)) is not None},
        sentences=sentences,
    )


def _own(sources: Sequence[Path], listed: list[_Listed]) -> Plan:
    """People's own pictures: a row for each file, known by its name; the split is a hash of the name."""
    several, repeats = len(sources) > 1, 0
    met: set[tuple[str, str]] = set()
    items: list[Item] = []
    names: list[str] = []
    for index, (source, files_of) in enumerate(zip(sources, listed, strict=True)):
        for name, place in zip(files_of.images, files_of.places, strict=True):
            where = _where(source, name)
            if where in met:  # a folder and one within it, or one source named twice
                repeats += 1
                continue
            met.add(where)
            items.append(Item(len(items), index, name, place))
            names.append(f"{source.name}/{name}" if several else name)
    digests = [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:7] for name in names]
    codes = hash_partition(np.array([int.from_bytes(digest) for digest in digests], dtype=np.int64))
    sentences = [
        f"There is no list_attr_celeba, so these are taken for pictures of your own: {counted(len(items), 'image')}, "
        "nothing known but names and captions."
    ]
    unmatched = sum(files_of.metadata.unmatched for files_of in listed)
    if unmatched:
        sentences.append(f"{counted(unmatched, 'row')} of metadata named a file that is not there.")
    return Plan(
        items=items,
        codes=codes,
        attributes=np.zeros((len(items), len(ATTRIBUTES)), dtype=np.int8),
        identity=np.full(len(items), -1, dtype=np.int64),
        captions=_captions(items, listed),
        names=names,
        found=len(items) + repeats,
        repeats=repeats,
        partition="hash",
        sentences=sentences,
    )


def _where(source: Path, name: str) -> tuple[str, str]:
    """The same for the same file, by whatever source it is met."""
    return (os.path.realpath(source), name) if source.is_file() else (os.path.realpath(source / name), "")


def _unread(sources: Sequence[Path], listed: list[_Listed]) -> list[tuple[str, str, str]]:
    """Pictures of formats that are not read, as rejected files."""
    found: dict[tuple[str, str], tuple[str, str, str]] = {}
    for source, files_of in zip(sources, listed, strict=True):
        for name in files_of.unread:
            found.setdefault(
                _where(source, name), (source.name, name, "this format is not read; give JPEG, PNG, WebP or AVIF")
            )
    return list(found.values())


def _not_celeba(chosen: Plan, source: Path) -> None:
    """Refuse numbered images without annotations and captions: CelebA, most likely, whose files are elsewhere."""
    if all(notes.image_number(item.name) is not None for item in chosen.items):
        raise CelebgenError(
            f"there is no list_attr_celeba.txt or .csv in or beside {source}, and its numbered images have no captions "
            "either; name the folder of CelebA's annotation files with --annotations (a zip that holds them too is "
            "unpacked by `celebgen download --source`), or give --caption TEXT"
        )


def _captions(items: list[Item], listed: list[_Listed]) -> list[tuple[str, ...]] | None:
    said = [listed[item.source].metadata.captions.get(item.name, ()) for item in items]
    return said if any(said) else None


def _aligned(
    chosen: Plan, sources: Sequence[Path], listed: list[_Listed], alignment: Alignment, crop: str, size: int
) -> Plan:
    """The images that have landmarks, with those; the others are rejected."""
    named = None if alignment.landmarks is None else notes.read_named_landmarks(alignment.landmarks)
    if named is None and not any(files_of.metadata.landmarks for files_of in listed):
        raise UsageError(
            "--align needs landmarks: give a file in the layout of list_landmarks_align_celeba with --landmarks, or "
            "put them into metadata.jsonl or metadata.csv"
        )
    rows, points = [], []
    for row, item in enumerate(chosen.items):
        found = None
        try:
            if named is not None:
                name = item.name if chosen.names is None else chosen.names[row]
                found = named.find(name, sources[item.source] / item.name)
            if found is None:
                found = listed[item.source].metadata.landmarks.get(item.name)
            if found is None:
                raise CelebgenError("there are no landmarks to align it by")
            similarity(found + 0.5)
        except CelebgenError as error:
            chosen.rejected.append((sources[item.source].name, item.name, str(error)))
            continue
        rows.append(row)
        points.append(found + 0.5)
    if named is not None and named.unused:
        chosen.sentences.append(f"{counted(len(named.unused), 'row')} of {named.path} fitted no image.")
    if not rows:
        raise CelebgenError(f"none of {counted(len(chosen), 'image')} has usable landmarks: {chosen.rejected[-1][2]}")
    chosen = chosen.take(np.array(rows, dtype=np.int64))
    chosen.items = [item._replace(points=tuple(p.ravel())) for item, p in zip(chosen.items, points, strict=True)]
    chosen.landmarks = np.stack([transform_points(p, crop, size) for p in points]).astype(np.float32)
    return chosen


def hash_partition(ids: np.ndarray) -> np.ndarray:
    """The split of each image where no partition file says it: 1 (valid) for a tenth of the numbers, else 0 (train).

    Args:
        ids: int64 [N], image numbers. An image's split depends on its number alone.

    Returns:
        int64 [N] of 0 and 1.
    """
    return np.asarray(mixed(ids) % np.uint64(10) == 0, dtype=np.int64)


def mixed(ids: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood 2014) of each number; uint64 [N]."""
    value: np.ndarray = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value = value ^ (value >> np.uint64(31))
    return value


Announce = Callable[[str], None]
"""Gets a sentence for the user."""
