"""What a step needs of the computer's own processor, made by other processes while a GPU is busy with earlier steps.

Captions are worded anew for every batch, which takes longer than a fast GPU needs for a step of the denoiser.
"""

import copy
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

WORKERS = 4
KEPT = 4  # steps that each worker is ahead

T = TypeVar("T")


class _Steps(Dataset[Any]):
    """`make(step)` as a dataset whose rows are steps."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Any:
        return self.make(step)


def _unchanged(made: T) -> T:
    return made


def _deaf(worker: int) -> None:
    """Ctrl-C, `timeout` and batch systems signal a whole group: who trains ends its workers when it has saved."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class Ahead(Generic[T]):
    """Calls `make(step)`, a pure function of the step, in worker processes and before its result is asked for.

    Steps are expected in their order, each once or several times (micro-batches); any other one begins a new queue.
    Whoever asks gets a copy of their own, for a generator in it changes with use. Without workers it calls `make`.

    Args:
        make: must not touch a GPU, and what it returns is sent between processes.
        device: what trains. Workers are started for a GPU alone (on a CPU they would take its cores), and on Linux,
            where they share the memory of this process.
    """

    def __init__(self, make: Callable[[int], T], device: torch.device, workers: int | None = None) -> None:
        pays = device.type == "cuda" and sys.platform == "linux"
        self.make, self.workers = make, workers if workers is not None else min(WORKERS, os.cpu_count() or 1) * pays
        self._queue: list[Iterator[T]] = []  # one at most; emptied, it ends its workers
        self._step, self._made = -1, cast(T, None)  # what was asked for last
        weakref.finalize(self, self._queue.clear)  # at the program's exit too, before it waits for its children

    def __call__(self, step: int) -> T:
        if self.workers == 0:
            return self.make(step)
        if not self._queue or step not in (self._step, self._step + 1):
            self._queue[:] = [self._from(step)]
            self._step = step - 1
        if step == self._step + 1:
            self._step, self._made = step, next(self._queue[0])
        return copy.deepcopy(self._made)

    def _from(self, step: int) -> Iterator[T]:
        return iter(
            DataLoader(
                _Steps(self.make), batch_size=None, sampler=range(step, sys.maxsize), num_workers=self.workers,
                prefetch_factor=KEPT, collate_fn=_unchanged, worker_init_fn=_deaf,
                multiprocessing_context="fork",
            )
        )  # fmt: skip
