"""Drawing jobs in batches as they come, and writing each face at once: an interrupted call keeps what it has."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celebgen_cli.data.captions.typed import Typed
from celebgen_cli.errors import UsageError
from celebgen_cli.sampling.jobs import Digest, Job, metadata_of, reading, resolve
from celebgen_cli.sampling.outputs import Place, encoded
from celebgen_cli.sampling.prompts import located

SURVEYED = 100_000  # jobs that are looked at before the first is drawn
_WAITING = 256  # faces that wait for their batch at most, those that are there already among them


@dataclass
class Drawn:
    """A face that is there now.

    Attributes:
        typed: the words that it is drawn in. settings: as `Model.sample` takes them, with their negative prompt.
        path: None for stdout, where `data` is the file. pixels: uint8 [S, S, 3]; None where an existing file was not
        looked into. frames: the way there, from the mean of the prior, where asked for. seconds: of its share of a
        batch; 0 where it was there before (`existed`).
    """

    job: Job
    typed: Typed
    settings: dict[str, Any]
    metadata: dict[str, Any]
    path: Path | None
    existed: bool
    data: bytes | None = None
    pixels: Any = None
    frames: list[Any] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Survey:
    """What is known of a call's jobs before they are drawn: how many, the digest of their metadata, their files."""

    count: int
    digest: str
    paths: frozenset[str] = frozenset()  # absolute


def survey(model: Any, jobs: Iterable[Job], place: Place) -> Survey | None:
    """Look at all jobs and at where they go, so that what cannot work is said before anything is drawn.

    None where they are too many to look at.

    Raises:
        CelebgenError: a setting is wrong, or a place is taken.
    """
    digest, count, paths = Digest(), 0, set[str]()
    for job in jobs:
        if count == SURVEYED:
            place.forget()
            return None
        planned = _planned(model, job, place)
        digest.add(planned.metadata)
        count += 1
        if planned.path is not None:
            paths.add(os.path.abspath(planned.path))
    place.forget()
    return Survey(count, digest.hex, frozenset(paths))


def single(jobs: Iterable[Job], option: str) -> list[Job]:
    """The one job of a call that writes one file.

    Raises:
        UsageError: there are more.
    """
    found = list(itertools.islice(jobs, 1001))
    if len(found) > 1:
        number = str(len(found)) if len(found) <= 1000 else "more than 1000"
        raise UsageError(f"{option} writes one PNG, but {number} faces were asked for; give a folder with -o DIR")
    return found


def draw(
    model: Any,
    jobs: Iterable[Job],
    place: Place,
    *,
    batch_size: int = 16,
    progress: Callable[[float], None] | None = None,
    pixels: bool = False,
    frames: bool = False,
) -> Iterator[Drawn]:
    """Draw and write the faces of `jobs`, in their order, holding one batch of them at a time.

    Faces with the same settings share a batch. One whose file is there already is not drawn again; with `pixels` its
    file is read, and with `frames` it is drawn once more, but not written. `progress(done)` counts faces.

    Raises:
        CelebgenError: a job cannot be drawn or written; the ones before it are there.
    """
    waiting: list[Drawn] = []
    missing = 0
    done = 0

    def flush() -> Iterator[Drawn]:
        nonlocal missing, done
        _draw_batch(model, [one for one in waiting if frames or not one.existed], place, progress, done, frames)
        for one in waiting:
            if pixels and one.pixels is None and one.path is not None:
                from celebgen_cli.images import read_pixels

                one.pixels = read_pixels(one.path)
            yield one
        done, missing = done + len(waiting), 0
        waiting.clear()
        if progress is not None:
            progress(done)

    for job in jobs:
        one = _planned(model, job, place)
        if waiting and one.settings != waiting[0].settings:
            yield from flush()
        waiting.append(one)
        missing += frames or not one.existed
        if missing in (0, batch_size) or len(waiting) >= _WAITING:
            yield from flush()
    if waiting:
        yield from flush()


def _planned(model: Any, job: Job, place: Place) -> Drawn:
    settings, typed = resolve(model, job), reading(model, job)
    metadata = metadata_of(model, job, settings, typed)
    settings["negative"] = typed.negative
    if place.kind == "stdout":
        return Drawn(job, typed, settings, metadata, None, False)
    try:
        path, existed = place.find(job, metadata)
    except UsageError as error:
        raise located(error, job.where) from error
    return Drawn(job, typed, settings, metadata, path, existed)


def _draw_batch(
    model: Any, batch: list[Drawn], place: Place, progress: Callable[[float], None] | None, done: int, frames: bool
) -> None:
    """Draw a batch of faces with the same settings, and write those that are not there."""
    if not batch:
        return
    began = time.perf_counter()

    def count(step: int, total: int) -> None:
        if progress is not None:
            progress(done + len(batch) * step / total)

    def keep(first: int, step: int, faces: Any) -> None:
        for one, face in zip(batch[first : first + len(faces)], faces, strict=True):
            one.frames.append(face)

    images = model.sample(
        [one.typed.text for one in batch], [one.job.seed for one in batch], **batch[0].settings,
        batch_size=len(batch), callback=count, **({"frames": keep} if frames else {}),
    )  # fmt: skip
    seconds = (time.perf_counter() - began) / len(batch)
    for one, face in zip(batch, images, strict=True):
        one.pixels, one.seconds = face, seconds
        if one.existed:
            continue
        one.data = encoded(face, place.form, one.metadata)
        if one.path is not None:
            _write(one, one.data, place)


def _write(one: Drawn, data: bytes, place: Place) -> None:
    """Write a face where nothing is; in a folder, where another process was faster, under the next free name."""
    from celebgen_cli.files import TakenError, atomic_write_bytes

    while one.path is not None and not one.existed:
        try:
            atomic_write_bytes(one.path, data, new=not place.force)
            return
        except TakenError as error:
            if place.kind != "folder":
                raise located(error, one.job.where) from error
            one.path, one.existed = place.find(one.job, one.metadata)
