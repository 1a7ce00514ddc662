"""Decoded pixels into array files: runs of rows, filled by worker processes that write where their rows belong.

No pixels travel between processes, and the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import multiprocessing
import multiprocessing.process
import os
import signal
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celebgen_cli.data import crops
from celebgen_cli.data.alignment import align
from celebgen_cli.data.digests import Digests
from celebgen_cli.data.quick import quick_pixels
from celebgen_cli.data.sources import BadImage, Member, SourceReader, decode_rgb
from celebgen_cli.data.workplace import Journal
from celebgen_cli.errors import CelebgenError

CHUNK = 256  # images a task: enough to hide the cost of handing it out, few enough for a smooth progress bar


class Item(NamedTuple):
    """One image of the plan: its number, the index of its source, its name in it, its place in an archive, and where
    it is to be aligned its ten landmarks, x and y in turn, in continuous coordinates.
    """

    number: int
    source: int
    name: str
    place: Member | None = None
    points: tuple[float, ...] | None = None


class Settings(NamedTuple):
    """What a worker needs to know; picklable, for spawn."""

    sources: list[Path]
    crop: str
    already: bool
    size: int


class Task(NamedTuple):
    """A run of rows: the array file, the byte at which its first row begins, and the images in order."""

    path: Path
    offset: int
    items: list[Item]


    def end(self, size: int) -> int:
        """The byte behind its last row, for images of `size` pixels."""
        return self.offset + len(self.items) * size * size * 3


class Result(NamedTuple):
    """What a task did: the reason by number of each bad image, and the CRC-32 of the rows that it wrote."""

    bad: dict[int, str]
    crc: int


def allocate(path: Path, items: list[Item], size: int) -> list[Task]:
    """Make a .npy file uint8 [N, size, size, 3] with a row for each image, and the tasks that will fill it.

    A file of the right length that an earlier run left is kept with all that is in it.
    """
    row = size * size * 3
    header = _npy_header((len(items), size, size, 3))
    length = len(header) + len(items) * row
    if not path.exists() or path.stat().st_size != length:
        with path.open("wb") as file:
            file.write(header)
            file.truncate(length)
    return [
        Task(path, len(header) + first * row, items[first : first + CHUNK]) for first in range(0, len(items), CHUNK)
    ]


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def fill(
    plan: list[Task],
    settings: Settings,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    journal: Journal | None = None,
    digests: Digests | None = None,
) -> dict[int, str]:
    """Do all tasks, but those that the journal has and whose rows are in the file as they were written.

    Args:
        plan: the tasks, from `allocate`.
        settings: what all of them share.
        workers: processes; all cores if None, no extra process if 1.
        progress: called with (images done, images in all).
        journal: gets a line for each task when its rows are written.
        digests: is told of each task, as a part, when its rows are in the file.

    Returns:
        The reason, by number, for each image that could not be used; its row is left black.

    Raises:
        CelebgenError: a worker process died.
        OSError: the array file cannot be written.
    """
    bad: dict[int, str] = {}
    done, total = 0, sum(len(task.items) for task in plan)

    def note(number: int, result: Result) -> None:
        nonlocal done
        if journal is not None:
            listed = [[image, reason] for image, reason in result.bad.items()]
            journal.add({"task": number, "crc": result.crc, "bad": listed})
        if digests is not None:
            digests.ready(number)
        bad.update(result.bad)
        done += len(plan[number].items)
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(0, total)
    todo = dict(enumerate(plan))
    for line in [] if journal is None else journal.read():
        task = todo.get(int(line["task"]))  # type: ignore[call-overload]
        if task is not None and line["crc"] == _crc(task, settings.size):
            bad.update({int(image): str(reason) for image, reason in line["bad"]})  # type: ignore[attr-defined]
            if digests is not None:
                digests.ready(int(line["task"]))  # type: ignore[call-overload]
            done += len(todo.pop(int(line["task"])).items)  # type: ignore[call-overload]
    if progress is not None and done:
        progress(done, total)
    workers = min(workers or os.cpu_count() or 1, len(todo))
    if workers <= 1:
        with SourceReader(settings.sources) as reader, warnings.catch_warnings(action="ignore"):
            for number, task in todo.items():
                note(number, _do_rows(reader, settings, task))
        return bad

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(settings,)) as pool:
        try:
            queue = iter(todo.items())
            running: dict[Future[Result], int] = {}
            while True:
                for number, task in itertools.islice(queue, 2 * workers - len(running)):
                    running[pool.submit(_work, task)] = number
                if not running:
                    return bad
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    note(running.pop(future), future.result())
        except BrokenProcessPool as error:
            raise CelebgenError("a worker process died (out of memory?); try again with --workers 1") from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_reader: SourceReader | None = None  # of a worker process, made once by _start_worker
_settings: Settings | None = None


def _start_worker(settings: Settings) -> None:
    global _reader, _settings
    warnings.simplefilter("ignore")  # of broken EXIF and the like; what cannot be used is in rejected.csv
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(ImportError, AttributeError):
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core already
    _reader, _settings = SourceReader(settings.sources), settings


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process when its parent does: after a kill nobody may write into rows that a later run fills."""
    parent.join()
    os._exit(1)


def _work(task: Task) -> Result:
    assert _reader is not None and _settings is not None
    return _do_rows(_reader, _settings, task)


def _do_rows(reader: SourceReader, settings: Settings, task: Task) -> Result:
    """Decode, align, crop and resize a run of images and write them."""
    bad: dict[int, str] = {}
    pixels = np.zeros((len(task.items), settings.size, settings.size, 3), dtype=np.uint8)
    for place, item in enumerate(task.items):
        try:
            pixels[place] = _picture(reader.read(item.source, item.name, item.place), item, settings)
        except (BadImage, CelebgenError) as error:
            bad[item.number] = str(error)
    with task.path.open("r+b") as file:
        file.seek(task.offset)
        file.write(pixels.data)
    return Result(bad, zlib.crc32(pixels.data))


def _picture(data: bytes, item: Item, settings: Settings) -> np.ndarray:
    """The prepared image, uint8 [size, size, 3], of a file's content."""
    if item.points is not None:
        return align(decode_rgb(data), np.reshape(item.points, (-1, 2)), settings.crop, settings.size)[0]
    quick = quick_pixels(data, None if settings.already else settings.crop, settings.size)
    if quick is not None:
        return quick
    if settings.already:
        return crops.resize_square(decode_rgb(data), settings.size)
    return crops.crop_and_resize(decode_rgb(data), settings.crop, settings.size)


def _crc(task: Task, size: int) -> int:
    """CRC-32 of the rows of a task as they are in the file."""
    with task.path.open("rb") as file:
        file.seek(task.offset)
        return zlib.crc32(file.read(len(task.items) * size * size * 3))


def compact(path: Path, good: np.ndarray) -> None:
    """Leave only the rows of a uint8 .npy file where `good` is true, a block at a time."""
    smaller = path.with_suffix(".compact")
    source = np.load(path, mmap_mode="r", allow_pickle=False)
    rows = np.flatnonzero(good)
    with smaller.open("wb") as file:
        file.write(_npy_header((len(rows), *source.shape[1:])))
        for start in range(0, len(rows), CHUNK):
            file.write(np.ascontiguousarray(source[rows[start : start + CHUNK]]).data)
    del source  # Windows replaces no file that is mapped
    os.replace(smaller, path)
