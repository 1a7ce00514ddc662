"""From images and what is known of them to a prepared dataset: plan every row, fill the arrays, write the summary.

`celebgen_cli.data.planning` says which image goes to which row of which split, `celebgen_cli.data.pixels` fills the
rows, and `celebgen_cli.data.workplace` keeps what is done for a run that goes on later.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.data import annotations as notes
from celebgen_cli.data import crops
from celebgen_cli.data.dataset import ARRAYS, FORMAT, FORMAT_VERSION, OPTIONAL_FILES
from celebgen_cli.data.digests import Digests
from celebgen_cli.data.pixels import Item, Settings, Task, allocate, compact, fill
from celebgen_cli.data.planning import Alignment, Plan, hash_partition, mixed, plan
from celebgen_cli.data.sources import RECODED_SUFFIXES
from celebgen_cli.data.texts import write_texts
from celebgen_cli.data.workplace import JOURNAL, Journal, check_outside, workplace
from celebgen_cli.errors import CelebgenError, UsageError, counted
from celebgen_cli.files import atomic_write_json, read_json, sha256_file

__all__ = ["PrepareReport", "hash_partition", "prepare"]

SIZES = (32, 256)
# beside the splits: what a dataset has, what training adds, and what systems leave in any folder
LEFT_BY_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")
BESIDE = ("dataset.json", "rejected.csv", "latents", *LEFT_BY_SYSTEMS)
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
        rows_without_image: rows of the attribute file that no image belongs to; None without annotations.
        seconds: how long it took.
        partition: "file", or "hash" where there was no partition file.
        captions: captions of the user's own in all.
        uncaptioned: images that have none of them.
        lossy_source: CelebA's images were encoded with loss after its own JPEG, so they are no reference for a metric.
    """

    path: Path
    counts: dict[str, int]
    found: int
    repeats: int
    rejected: int
    rejected_examples: list[tuple[str, str]]
    rows_without_image: int | None
    seconds: float
    partition: str
    captions: int = 0
    uncaptioned: int = 0
    lossy_source: bool = False


def prepare(
    sources: list[Path],
    out: Path,
    *,
    annotations: Path | None,
    size: int = 128,
    crop: str | None = None,
    already: str | None = None,
    align: bool = False,
    landmarks: Path | None = None,
    caption: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    announce: Callable[[str], None] = lambda sentence: None,
    limit: int | None = None,
    force: bool = False,
) -> PrepareReport:
    """Make a prepared dataset (see `celebgen_cli.data.dataset`) of CelebA's aligned images, or of one's own pictures.

    CelebA's images are matched with annotations by the number in their names. Where a number is met twice the first
    source that has it wins; within a split, rows are sorted by number. Images without an annotation row, images that
    cannot be read and pictures of other formats are left out, counted and named in `rejected.csv`. Without a partition
    file, a hash of the number sends nine tenths of the images to *train* and one tenth to *valid*.

    Own pictures have names, and captions where metadata or a text beside them says some (`celebgen_cli.data.metadata`).

    The result is made in a folder beside `out` and renamed, so `out` is whole or absent. A run that was killed or
    interrupted is taken up by the next one with the same sources and settings, with the same result.

    Args:
        sources: folders or zip archives with images, at any depth.
        out: the folder to make.
        annotations: folder with `list_attr_celeba`, and the other annotation files where present; None for pictures of
            one's own.
        size: pixels of the side, 32 to 256.
        crop: name of the box that is cut out of each image; None is `face178`, or `square` for own pictures that are
            not aligned.
        already: name of the crop that the images are cut to already: they are square, and only resized if need be.
        align: move each picture's landmarks to where CelebA's mean face has them, then crop.
        landmarks: file with the landmarks, in the layout of `list_landmarks_align_celeba`, in pixels of the pictures.
        caption: the caption of every image that has no other.
        workers: processes; all cores if None, no extra process if 1.
        progress: called with (images done, images in all).
        announce: gets a sentence for each thing that was assumed or differs, and how much room the result takes.
        limit: take only so many images, drawn by a hash of their numbers, so each split keeps its share.
        force: replace `out` if it is a prepared dataset.

    Raises:
        UsageError: a source, crop, size or limit that cannot work, or `out` exists.
        CelebgenError: unusable annotations, metadata or archives, nothing left to write, a full disk.
    """
    start = time.monotonic()
    out = Path(out)
    sources = [Path(source) for source in sources]
    # files are called by the name of their source, which `.` and `..` have none of
    sources = [source.resolve() if source.name in ("", "..") else source for source in sources]
    if landmarks is not None and not align:
        raise UsageError("--landmarks is what --align works with; give both")
    if align and already is not None:
        raise UsageError("--already says that the images are cut, so they cannot be aligned; leave out one of the two")
    if caption is not None and not caption.strip():
        raise UsageError("the caption is empty; say what all the images show, or leave --caption out")
    crop = already or crop or ("square" if annotations is None and not align else "face178")
    _check_arguments(sources, out, size, crop, already, align, workers, limit, force)
    check_outside(out, [*sources, *([annotations] if annotations else []), *([landmarks] if landmarks else [])])

    chosen = plan(sources, annotations, crop, size, Alignment(align, landmarks), caption)
    if limit is not None and limit < len(chosen):
        hashes = mixed(np.array([item.number for item in chosen.items], dtype=np.int64))
        chosen = chosen.take(np.sort(np.argsort(hashes, kind="stable")[:limit]))
    if chosen.partition == "hash" and (chosen.codes == 1).all():
        chosen.codes[:] = 0  # one or two pictures: something must be left to train on
    _check_avif(_suffixes(chosen.items))
    for sentence in chosen.sentences:
        announce(sentence)
    if annotations is not None:
        announce(f"The annotations are those in {annotations}.")
    needed = len(chosen) * size * size * 3
    announce(f"{counted(len(chosen), 'image')} of {size} px: {needed / 2**20:,.0f} MiB in {out}.")

    settings = Settings(sources, crop, already is not None, size)
    with workplace(out, _key(chosen, settings), needed) as folder:
        tasks: list[Task] = []
        for code, split in enumerate(notes.PARTITIONS):
            members = [chosen.items[row] for row in np.flatnonzero(chosen.codes == code)]
            if members:
                (folder / split).mkdir(exist_ok=True)
                tasks += allocate(folder / split / "images.npy", members, size)
        digests = Digests([(task.path, task.end(size)) for task in tasks])
        try:
            bad = fill(tasks, settings, workers, progress, Journal(folder / JOURNAL), digests)
            known = digests.finish()
        finally:
            digests.abandon()

        if chosen.partition == "hash":
            known = _leave_some_to_train(folder, chosen, bad, known)
        counts = {}
        captions = uncaptioned = 0
        for code, split in enumerate(notes.PARTITIONS):
            members_of = np.flatnonzero(chosen.codes == code)
            good = np.array([chosen.items[row].number not in bad for row in members_of], dtype=bool)
            counts[split] = int(good.sum())
            if counts[split] == 0:
                shutil.rmtree(folder / split, ignore_errors=True)
                continue
            if counts[split] < len(members_of):
                compact(folder / split / "images.npy", good)
                del known[folder / split / "images.npy"]
            kept = chosen.take(members_of[good])
            _write_rows(folder / split, kept)
            said = [len(texts) for texts in kept.captions or [()] * len(kept)]
            captions += sum(said)
            uncaptioned += said.count(0)
        if not any(counts.values()):
            example = next(iter(bad.values()))
            tried = counted(len(chosen), "image")
            raise CelebgenError(f"none of {tried} could be used; of the first it was said: {example}")
        if chosen.partition == "hash":
            by = "number" if chosen.names is None else "name"
            announce(f"A hash of the {by} put {counts['train']:,} in train and {counts['valid']:,} in valid.")

        rejected = chosen.rejected + [
            (sources[item.source].name, item.name, bad[item.number]) for item in chosen.items if item.number in bad
        ]
        _write_rejected(folder / "rejected.csv", rejected)
        suffixes = _suffixes(item for item in chosen.items if item.number not in bad)
        recoded = suffixes - {".png"} if already is not None else suffixes & RECODED_SUFFIXES
        lossy = annotations is not None and bool(recoded)  # one's own pictures were never CelebA's JPEG
        summary = _summary(chosen, settings, align, captions, lossy, limit)
        files = [f"{split}/{file}" for split, count in counts.items() if count for file in _files(folder / split)]
        atomic_write_json(
            folder / "dataset.json",
            {
                **summary,
                "counts": counts,
                "left_out": {"rejected": len(rejected), "repeats": chosen.repeats},
                "sha256": {name: known.get(folder / name) or _sync_and_hash(folder / name) for name in files},
                "tools": _tool_versions(),
            },
        )
    return PrepareReport(
        path=out,
        counts=counts,
        found=chosen.found,
        repeats=chosen.repeats,
        rejected=len(rejected),
        rejected_examples=[(f"{source}/{name}", reason) for source, name, reason in sorted(rejected)[:EXAMPLES]],
        rows_without_image=chosen.rows_without_image,
        seconds=time.monotonic() - start,
        partition=chosen.partition,
        captions=captions,
        uncaptioned=uncaptioned,
        lossy_source=lossy,
    )


def _leave_some_to_train(
    folder: Path, chosen: Plan, bad: Mapping[int, str], known: dict[Path, str]
) -> dict[Path, str]:
    """Where a hash put all usable images of a few into valid, make them the training split; the digests then."""
    good = np.array([item.number not in bad for item in chosen.items], dtype=bool)
    if not good.any() or (good & (chosen.codes == 0)).any():
        return known
    (folder / JOURNAL).unlink(missing_ok=True)  # who goes on after a kill here fills the rows again
    shutil.rmtree(folder / "train", ignore_errors=True)
    os.replace(folder / "valid", folder / "train")
    chosen.codes[:] = np.where(chosen.codes == 1, 0, 2)
    valid, train = (folder / split / "images.npy" for split in ("valid", "train"))
    return {train if path == valid else path: digest for path, digest in known.items() if path != train}


def _check_arguments(
    sources: list[Path],
    out: Path,
    size: int,
    crop: str,
    already: str | None,
    align: bool,
    workers: int | None,
    limit: int | None,
    force: bool,
) -> None:
    """Refuse what cannot work before anything is read."""
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
        known = read_json(out / "dataset.json") if (out / "dataset.json").is_file() else None
        if not isinstance(known, dict) or known.get("format") != FORMAT:
            raise UsageError(f"{out} exists and is not a prepared dataset, so --force does not replace it")
        others = sorted({path.name for path in out.iterdir()} - {*notes.PARTITIONS, *BESIDE})
        own = {*(f"{array}.npy" for array in ARRAYS), *OPTIONAL_FILES, *LEFT_BY_SYSTEMS}
        others += sorted(
            f"{split}/{path.name}" for split in notes.PARTITIONS if (out / split).is_dir()
            for path in (out / split).iterdir() if path.name not in own
        )  # fmt: skip
        if others:
            raise UsageError(
                f"{out} holds {', '.join(others[:3])}, which no dataset has and --force would delete; move that away, "
                "or choose another place"
            )
    crops.check_crop(crop)
    if align and crop == "square":
        raise UsageError("an aligned face has a box of its own to be cut by; choose --crop face178, for example")


def _suffixes(items: Iterable[Item]) -> set[str]:
    return {os.path.splitext(item.name)[1].lower() for item in items}


def _check_avif(suffixes: set[str]) -> None:
    from PIL import features

    if ".avif" in suffixes and not features.check("avif"):
        raise CelebgenError("the images are AVIF, which this Pillow cannot read; install Pillow 11.3 or newer")


def _key(chosen: Plan, settings: Settings) -> str:
    """SHA-256 over all that the pixels and their order depend on: what an unfinished run must have in common."""
    digest = hashlib.sha256(json.dumps([_tool_versions(), settings.crop, settings.already, settings.size]).encode())
    for source in settings.sources:
        digest.update(repr((os.path.abspath(source), _stamp(source) if source.is_file() else None)).encode())
    for item in chosen.items:
        source = settings.sources[item.source]
        digest.update(repr((item, None if source.is_file() else _stamp(source / item.name))).encode())
    digest.update(chosen.codes.tobytes())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file: another one under the same name is noticed."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    return None


def _write_rows(folder: Path, rows: Plan) -> None:
    """Everything but the pixels of a split."""
    np.save(folder / "ids.npy", np.array([item.number for item in rows.items], dtype=np.int64))
    np.save(folder / "attributes.npy", rows.attributes)
    np.save(folder / "identity.npy", rows.identity)
    for file in OPTIONAL_FILES:  # an earlier run may have got this far
        (folder / file).unlink(missing_ok=True)
    if rows.landmarks is not None and np.isfinite(rows.landmarks).any():
        np.save(folder / "landmarks.npy", rows.landmarks)
    if rows.captions is not None and any(rows.captions):
        write_texts(folder, "captions", rows.captions)
    if rows.names is not None:
        write_texts(folder, "names", [[name] for name in rows.names], one_each=True)


def _files(folder: Path) -> list[str]:
    return [f"{array}.npy" for array in ARRAYS] + [file for file in OPTIONAL_FILES if (folder / file).exists()]


def _summary(
    chosen: Plan, settings: Settings, align: bool, captions: int, lossy: bool, limit: int | None
) -> dict[str, Any]:
    """What dataset.json says of the sources and of how the images were made."""
    box = crops.CROPS[settings.crop]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "size": settings.size,
        "crop": {"name": settings.crop, "box": None if box is None else list(box)},
        "already_cropped": settings.already,
        "aligned": align,
        "filter": crops.FILTER,
        "lossy_source": lossy,
        "source": _describe_sources(settings.sources, chosen.items),
        "annotations": {
            kind: {"file": path.name, "sha256": sha256_file(path)} for kind, path in chosen.annotations.items()
        },
        "attributes": bool(chosen.attributes.any()),
        "captions": captions,
        "partition": chosen.partition,
        "limit": limit,
    }


def _sync_and_hash(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256_file(path)


def _write_rejected(path: Path, rejected: list[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
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
