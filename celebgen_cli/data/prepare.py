"""From aligned images and annotations to a prepared dataset: plan every row, fill the arrays, write the summary.

The plan comes first: which image goes to which row of which split. `celebgen_cli.data.pixels` then fills the rows.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from celebgen_cli.data import annotations as notes
from celebgen_cli.data import crops
from celebgen_cli.data.dataset import ARRAYS, FORMAT, FORMAT_VERSION
from celebgen_cli.data.pixels import Item, Settings, Task, allocate, compact, fill
from celebgen_cli.data.sources import RECODED_SUFFIXES, list_images
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_write_json, read_json, sha256_file

SIZES = (32, 256)
EXAMPLES = 5  # rejected files that the report names; rejected.csv has them all


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did.

    Attributes:
        path: the prepared dataset.
        counts: images in each split.
        found: image files in all sources.
        repeats: files whose number had been met before.
        rejected: files left out, all of them in `rejected.csv`.
        rejected_examples: (file, reason) of the first few of them.
        rows_without_image: rows of the attribute file that no image belongs to.
        seconds: how long it took.
        partition: "file", or "hash" where there was no partition file.
        lossy_source: the images were encoded with loss after CelebA's own JPEG, so they are no reference for a metric.
    """

    path: Path
    counts: dict[str, int]
    found: int
    repeats: int
    rejected: int
    rejected_examples: list[tuple[str, str]]
    rows_without_image: int
    seconds: float
    partition: str
    lossy_source: bool = False


def prepare(
    sources: list[Path],
    out: Path,
    *,
    annotations: Path,
    size: int = 128,
    crop: str = "face178",
    already: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    limit: int | None = None,
    force: bool = False,
) -> PrepareReport:
    """Make a prepared dataset (see `celebgen_cli.data.dataset`) of CelebA's aligned images.

    Images are matched with annotations by the number in their names. Where a number is met twice the first source
    that has it wins; within a split, rows are sorted by number. Images without an annotation row and images that
    cannot be read are left out, counted and named in `rejected.csv`. Without a partition file, a hash of the number
    sends nine tenths of the images to *train* and one tenth to *valid*. The result is written into a temporary
    folder beside `out` and renamed, so `out` is whole or absent.

    Args:
        sources: folders or zip archives with images, at any depth.
        out: the folder to make.
        annotations: folder with `list_attr_celeba`, and `list_eval_partition` and `identity_CelebA` where present.
        size: pixels of the side, 32 to 256.
        crop: name of the box that is cut out of each 178x218 image.
        already: name of the crop that the images are cut to already: they are square, and only resized if need be.
        workers: processes; all cores if None, no extra process if 1.
        progress: called with (images done, images in all).
        limit: take only so many images, drawn by a hash of their numbers, so each split keeps its share.
        force: replace `out` if it is a prepared dataset.

    Raises:
        UsageError: a source, crop, size or limit that cannot work, or `out` exists.
        CelebgenError: unusable annotations or archives, nothing left to write, a full disk.
    """
    start = time.monotonic()
    out = Path(out)
    sources = [Path(source) for source in sources]
    crop = _check_arguments(sources, out, size, crop, already, workers, limit, force)

    files = notes.find_annotations(annotations)
    if files.attributes is None:
        raise CelebgenError(
            f"{annotations} has no list_attr_celeba.txt or .csv; get CelebA's annotation files or name their folder "
            "with --annotations"
        )
    attributes = notes.read_attributes(files.attributes)
    partition = None if files.partition is None else notes.read_partition(files.partition)
    identity = None if files.identity is None else notes.read_identity(files.identity)

    found, items, rejected, repeats = _collect(sources, attributes, partition)
    with_row = len(items)
    if limit is not None and limit < len(items):
        hashes = _hash(np.array([item.number for item in items], dtype=np.int64))
        items = [items[row] for row in sorted(np.argsort(hashes, kind="stable")[:limit])]
    if not items:
        raise CelebgenError(f"none of the {found} images has a row in {files.attributes}; do they belong together?")
    suffixes = {PurePosixPath(item.name).suffix.lower() for item in items}
    _check_avif(suffixes)

    ids = np.array([item.number for item in items], dtype=np.int64)
    codes = hash_partition(ids) if partition is None else notes.look_up(partition, ids)
    rows = np.searchsorted(attributes.ids, ids)
    people = np.full(len(ids), -1, dtype=np.int64) if identity is None else notes.look_up(identity, ids)

    settings = Settings(sources, crop, already is not None, size)
    counts: dict[str, int] = {}
    with _building(out, len(items) * size * size * 3, force) as folder:
        plan: list[Task] = []
        for code, split in enumerate(notes.PARTITIONS):
            chosen = [items[row] for row in np.flatnonzero(codes == code)]
            if chosen:
                (folder / split).mkdir()
                plan += allocate(folder / split / "images.npy", chosen, size)
        bad = fill(plan, settings, workers, progress)

        for code, split in enumerate(notes.PARTITIONS):
            members = np.flatnonzero(codes == code)
            good = np.array([items[row].number not in bad for row in members], dtype=bool)
            kept = members[good]
            counts[split] = len(kept)
            if len(kept) == 0:
                shutil.rmtree(folder / split, ignore_errors=True)
                continue
            if len(kept) < len(members):
                compact(folder / split / "images.npy", good)
            np.save(folder / split / "ids.npy", ids[kept])
            np.save(folder / split / "attributes.npy", attributes.values[rows[kept]])
            np.save(folder / split / "identity.npy", people[kept])
        if not any(counts.values()):
            example = next(iter(bad.values()))
            raise CelebgenError(f"none of the {len(items)} images could be used; of the first it was said: {example}")

        rejected += [(sources[item.source].name, item.name, bad[item.number]) for item in items if item.number in bad]
        _write_rejected(folder / "rejected.csv", rejected)
        lossy = (already is not None and bool(suffixes - {".png"})) or bool(suffixes & RECODED_SUFFIXES)
        box = crops.CROPS[crop]
        splits = [split for split, count in counts.items() if count]
        atomic_write_json(
            folder / "dataset.json",
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "size": size,
                "crop": {"name": crop, "box": None if box is None else list(box)},
                "already_cropped": already is not None,
                "filter": crops.FILTER,
                "lossy_source": lossy,
                "source": _describe_sources(sources, items),
                "annotations": {
                    kind: {"file": path.name, "sha256": sha256_file(path)}
                    for kind in ("attributes", "partition", "identity")
                    if (path := getattr(files, kind)) is not None
                },
                "partition": "file" if partition is not None else "hash",
                "limit": limit,
                "counts": counts,
                "left_out": {"rejected": len(rejected), "repeats": repeats},
                "sha256": {
                    f"{split}/{array}.npy": _sync_and_hash(folder / split / f"{array}.npy")
                    for split in splits
                    for array in ARRAYS
                },
                "tools": _tool_versions(),
            },
        )
    return PrepareReport(
        path=out,
        counts=counts,
        found=found,
        repeats=repeats,
        rejected=len(rejected),
        rejected_examples=[(f"{source}/{name}", reason) for source, name, reason in sorted(rejected)[:EXAMPLES]],
        rows_without_image=len(attributes) - with_row,
        seconds=time.monotonic() - start,
        partition="file" if partition is not None else "hash",
        lossy_source=lossy,
    )


def hash_partition(ids: np.ndarray) -> np.ndarray:
    """The split of each image where no partition file says it: 1 (valid) for a tenth of the numbers, else 0 (train).

    Args:
        ids: int64 [N], image numbers. An image's split depends on its number alone.

    Returns:
        int64 [N] of 0 and 1.
    """
    return np.asarray(_hash(ids) % np.uint64(10) == 0, dtype=np.int64)


def _hash(ids: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood 2014) of each number; uint64 [N]."""
    value: np.ndarray = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value = value ^ (value >> np.uint64(31))
    return value


def _check_arguments(
    sources: list[Path],
    out: Path,
    size: int,
    crop: str,
    already: str | None,
    workers: int | None,
    limit: int | None,
    force: bool,
) -> str:
    """Refuse what cannot work before anything is read, and return the name of the crop that the result will have."""
    if not sources:
        raise UsageError("there is nothing to prepare; name a folder of images or a zip archive")
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"the size {size} is not between {SIZES[0]} and {SIZES[1]} pixels; choose --size 64 or 128")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot do anything; give --workers 1 or more")
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} leaves nothing to prepare; give --limit 1 or more")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not force:
            raise UsageError(f"{out} exists already; choose another place or replace it with --force")
        if not (out / "dataset.json").is_file() or read_json(out / "dataset.json").get("format") != FORMAT:
            raise UsageError(f"{out} exists and is not a prepared dataset, so --force does not replace it")
    return crops.check_crop(crop if already is None else already)


def _check_avif(suffixes: set[str]) -> None:
    from PIL import features

    if ".avif" in suffixes and not features.check("avif"):
        raise CelebgenError("the images are AVIF, which this Pillow cannot read; install Pillow 11.3 or newer")


def _collect(
    sources: list[Path], attributes: notes.Attributes, partition: notes.Numbers | None
) -> tuple[int, list[Item], list[tuple[str, str, str]], int]:
    """List all sources: images found, the items to prepare by ascending number, the rejected ones, and the repeats."""
    found = repeats = 0
    taken: dict[int, Item] = {}
    rejected: list[tuple[str, str, str]] = []
    for index, source in enumerate(sources):
        for name in list_images(source):
            found += 1
            number = notes.image_number(name)
            if number is None:
                rejected.append((source.name, name, "the name is not a number, so no annotation belongs to it"))
            elif number in taken:
                repeats += 1
            else:
                taken[number] = Item(number, index, name)
    items = [taken[number] for number in sorted(taken)]
    numbers = np.array([item.number for item in items], dtype=np.int64)
    known = np.isin(numbers, attributes.ids)
    placed = np.ones(len(items), dtype=bool) if partition is None else np.isin(numbers, partition.ids)
    for row in np.flatnonzero(~(known & placed)):
        missing = "attribute" if not known[row] else "partition"
        rejected.append((sources[items[row].source].name, items[row].name, f"no row in the {missing} file"))
    return found, [items[row] for row in np.flatnonzero(known & placed)], rejected, repeats


@contextlib.contextmanager
def _building(out: Path, needed: int, force: bool) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends well and is removed otherwise."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < needed * 1.02 + 2**20:
            raise CelebgenError(
                f"{out} needs {needed / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free there; make room or choose "
                "another place"
            )
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)  # mkdtemp makes folders that only their owner may enter
        try:
            yield folder
            if out.exists():  # an empty folder, or with --force a dataset
                aside = folder.with_suffix(".old")
                os.replace(out, aside)
                os.replace(folder, out)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                os.replace(folder, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise CelebgenError(f"cannot write {out}: {what}; nothing was left there") from error


def _sync_and_hash(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256_file(path)


def _write_rejected(path: Path, rejected: list[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "reason"])
        writer.writerows((f"{source}/{name}", reason) for source, name, reason in sorted(rejected))


def _describe_sources(sources: list[Path], items: list[Item]) -> list[dict[str, Any]]:
    """Name and size of each source, and a fingerprint of which of its images were chosen; no path of this machine."""
    description = []
    for index, source in enumerate(sources):
        names = [item.name for item in items if item.source == index]
        digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
        size = source.stat().st_size if source.is_file() else None
        description.append({"name": source.name, "bytes": size, "images": len(names), "names_sha256": digest})
    return description


def _tool_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("celebgen", "pillow", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
