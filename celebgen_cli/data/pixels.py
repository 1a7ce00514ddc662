"""Decoded pixels into array files: runs of rows, filled by worker processes that write where their rows belong.

No pixels travel between processes, and the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celebgen_cli.data import crops
from celebgen_cli.data.sources import BadImage, SourceReader, decode_rgb
from celebgen_cli.errors import CelebgenError

CHUNK = 256  # images a task: enough to hide the cost of handing it out, few enough for a smooth progress bar


class Item(NamedTuple):
    """One image of the plan: its number, the index of its source and its name in it."""

    number: int
    source: int
    name: str


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


def allocate(path: Path, items: list[Item], size: int) -> list[Task]:
    """Make a .npy file uint8 [N, size, size, 3] with a row for each image, and the tasks that will fill it."""
    row = size * size * 3
    header = _npy_header((len(items), size, size, 3))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + len(items) * row)
    return [
        Task(path, len(header) + first * row, items[first : first + CHUNK]) for first in range(0, len(items), CHUNK)
    ]


def _npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def fill(
    plan: list[Task], settings: Settings, workers: int | None, progress: Callable[[int, int], None] | None
) -> dict[int, str]:
    """Do all tasks.

    Args:
        plan: the tasks, from `allocate`.
        settings: what all of them share.
        workers: processes; all cores if None, no extra process if 1.
        progress: called with (images done, images in all).

    Returns:
        The reason, by number, for each image that could not be used; its row is left black.

    Raises:
        CelebgenError: a worker process died.
        OSError: the array file cannot be written.
    """
    bad: dict[int, str] = {}
    done, total = 0, sum(len(task.items) for task in plan)

    def note(result: dict[int, str], count: int) -> None:
        nonlocal done
        bad.update(result)
        done += count
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(0, total)
    workers = min(workers or os.cpu_count() or 1, len(plan))
    if workers == 1:
        with SourceReader(settings.sources) as reader:
            for task in plan:
                note(_do_rows(reader, settings, task), len(task.items))
        return bad

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(settings,)) as pool:
        try:
            queue = iter(plan)
            running: dict[Future[dict[int, str]], int] = {}
            while True:
                for task in itertools.islice(queue, 2 * workers - len(running)):
                    running[pool.submit(_work, task)] = len(task.items)
                if not running:
                    return bad
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    note(future.result(), running.pop(future))
        except BrokenProcessPool as error:
            raise CelebgenError("a worker process died (out of memory?); try again with --workers 1") from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_reader: SourceReader | None = None  # of a worker process, made once by _start_worker
_settings: Settings | None = None


def _start_worker(settings: Settings) -> None:
    global _reader, _settings
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with contextlib.suppress(ImportError, AttributeError):
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core already
    _reader, _settings = SourceReader(settings.sources), settings


def _work(task: Task) -> dict[int, str]:
    assert _reader is not None and _settings is not None
    return _do_rows(_reader, _settings, task)


def _do_rows(reader: SourceReader, settings: Settings, task: Task) -> dict[int, str]:
    """Decode, crop and resize a run of images and write them; the reason by number of each bad one."""
    bad: dict[int, str] = {}
    pixels = np.zeros((len(task.items), settings.size, settings.size, 3), dtype=np.uint8)
    for place, item in enumerate(task.items):
        try:
            image = decode_rgb(reader.read(item.source, item.name))
            if settings.already:
                pixels[place] = crops.resize_square(image, settings.size)
            else:
                pixels[place] = crops.crop_and_resize(image, settings.crop, settings.size)
        except (BadImage, CelebgenError) as error:
            bad[item.number] = str(error)
    with task.path.open("r+b") as file:
        file.seek(task.offset)
        file.write(pixels.data)
    return bad


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
