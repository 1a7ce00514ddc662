"""One job in many processes, as torchrun starts them: which of them this is, and what they tell each other.

A process that nobody started as one of many is a world of its own: every function here then returns at once, and
torch.distributed is not imported. Numbers go through gloo on CPUs and NCCL on GPUs; objects always through gloo.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celebgen_cli.errors import CelebgenError, UsageError, first_line

if TYPE_CHECKING:
    from torch import Tensor

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets, and schedulers that do its work
MEETING = timedelta(minutes=5)  # for all processes to arrive
WAITING = timedelta(hours=1)  # for one that validates, draws or writes; one that dies is noticed at once
IDLE = timedelta(days=7)  # for a process that has not been asked for anything yet
TOLD = "celebgen/told"


@dataclass(frozen=True)
class World:
    """Which process this is: `rank` of `size`, and `local_rank` among those of its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the one process that writes and speaks."""
        return self.rank == 0


class JobEnded(CelebgenError):
    """The job of several processes is over for this one: no fault of what it was doing, and nothing to go on from."""


class PeerLost(JobEnded):
    """Another process of the job has ended or cannot be reached."""


_world = World()
_store: Any = None


def world() -> World:
    """This process's place in the job that it has joined; alone where it has joined none."""
    return _world


def asked() -> bool:
    """Whether this process was started as one of several."""
    return all(name in os.environ for name in VARIABLES) and os.environ["WORLD_SIZE"] not in ("", "0", "1")


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """Join the job that the environment describes, and leave it when the block ends well.

    A block that fails leaves nothing behind to wait for: the connections break when the process ends, and the others
    notice. Failures of a connection become `PeerLost`.

    Raises:
        CelebgenError: the variables make no sense, or the other processes do not come.
    """
    global _world, _store
    import torch
    import torch.distributed as dist
    import torch.distributed.nn.functional  # its defaults keep whatever group there is when it is first imported

    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", "0"))
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    except ValueError as error:
        raise UsageError(f"{', '.join(VARIABLES)} must be as torchrun sets them ({error})") from error
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(local % gpus)  # what "cuda" means from here on
    try:
        _store, _, _ = next(iter(dist.rendezvous("env://", timeout=MEETING)))
        # gloo alone where a machine has fewer GPUs than processes: NCCL refuses two processes on one
        backend = "cpu:gloo,cuda:nccl" if gpus >= beside else "gloo"
        dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=WAITING)
    except (RuntimeError, ValueError, OSError) as error:
        raise CelebgenError(
            f"process {rank} of {size} could not join the others at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({first_line(error)}); start all of them with one torchrun command a machine"
        ) from error
    _world = World(rank, size, local)
    try:
        with noticing():
            yield _world
            barrier()  # nobody hangs up on one that is still busy
        gc.collect()  # gloo's threads end with the last reference to the group; one that outlives Python aborts it
        dist.destroy_process_group()
        _store = None
    finally:
        _world = World()


@contextlib.contextmanager
def noticing(what: str = "") -> Iterator[None]:
    """Turn a broken connection into `PeerLost`, whose sentence ends in `what` is left of the work."""
    try:
        yield
    except PeerLost:
        raise
    except (RuntimeError, OSError) as error:
        if _world.size == 1 or not _broken(error):
            raise
        raise PeerLost(
            f"process {_world.rank} of {_world.size} lost the others: one of them has ended or cannot be reached, so "
            f"the whole job ends; {what or 'look for its message, then give the same command again'}"
        ) from error


def _broken(error: BaseException) -> bool:
    """Whether an error is of a connection to another process, and not of this one's own."""
    import torch.distributed as dist

    text = str(error)
    signs = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "TCPStore")
    return isinstance(error, dist.DistError | ConnectionError) or any(sign in text for sign in signs)


def first_to_tell() -> bool:
    """Whether no process of this job has told the user yet why it failed: one sentence is enough for all of them."""
    if _store is None:
        return True
    try:
        return int(_store.add(TOLD, 1)) == 1
    except (RuntimeError, OSError):
        return True  # whoever keeps the count has gone: twice is better than never


def barrier() -> None:
    """Wait for all processes."""
    any_of(False)  # unlike a broadcast, nobody gets through before all have come


def same(value: Any) -> Any:
    """The main process's `value`, in all of them."""
    if _world.size == 1:
        return value
    import torch
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def gathered(value: Any) -> list[Any]:
    """The value of every process, in order of rank, in all of them."""
    if _world.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _world.size
    dist.all_gather_object(values, value)
    return values


def collected(value: Any) -> list[Any]:
    """The value of every process, in order of rank, in the main one; nothing in the others."""
    if _world.size == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] | None = [None] * _world.size if _world.main else None
    dist.gather_object(value, values, dst=0)
    return values or []


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process: what all of them are to do next."""
    if _world.size == 1:
        return flag
    import torch
    import torch.distributed as dist

    number = torch.tensor([int(flag)])
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return bool(number)


def mean_of(values: Sequence[Tensor | float]) -> list[float]:
    """Means over all processes of numbers that each of them has."""
    import torch

    numbers = torch.tensor([float(torch.as_tensor(value).detach()) for value in values], dtype=torch.float64)
    if _world.size > 1:
        import torch.distributed as dist

        dist.all_reduce(numbers)
        numbers /= _world.size
    return [float(number) for number in numbers]


def group_for_waiting() -> Any:
    """A group of all processes in which one may wait for hours; only for objects."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=IDLE)
