"""How many micro-batches a batch needs so that each fits into memory; the batch itself stays what it is.

On a GPU it is tried. A CPU's system hands out more memory than there is and kills whoever uses it, so there the
activations of one and of two rows are counted first, and that is compared with what is free.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.parts import Part

# of free memory, what activations may take: optimizer, other programs and what is not kept need the rest
SHARE_OF_FREE = 0.5
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # what a CPU's allocator says


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def fewest_parts(
    mine: Part,
    attempt: Callable[[Part], None],
    forward: Callable[[Part], Tensor],
    device: torch.device,
) -> int:
    """The smallest number of micro-batches, of 1, 2, 4, ... and one a row, with which the largest of them fits.

    Args:
        mine: the rows to split.
        attempt: computes the gradients of a part, and raises what torch raises where memory runs out.
        forward: computes the loss of a part, for counting what is kept for the way back.

    Raises:
        CelebgenError: not even one row fits.
    """
    pieces = parts_by_size(mine, forward) if device.type == "cpu" else 1
    while True:
        largest = max(mine.split(pieces), key=lambda part: part.count)
        try:
            attempt(largest)
            return pieces
        except Exception as error:  # what it is depends on the device
            if not out_of_memory(error):
                raise
            if pieces == mine.count:
                raise CelebgenError(
                    f"not even one picture fits into the memory of {device}; add --checkpoint-activations, choose a "
                    "smaller --preset, or another --device"
                ) from error
        if device.type == "cuda":
            torch.cuda.empty_cache()
        pieces = min(2 * pieces, mine.count)


def parts_by_size(mine: Part, forward: Callable[[Part], Tensor], free: int | None = None) -> int:
    """The number of micro-batches by what is kept of one row and of two; `free` bytes are asked for where None."""
    free = available_memory() if free is None else free
    if mine.count == 1 or free is None:
        return 1
    try:
        one, two = (kept_bytes(functools.partial(forward, Part(mine.first, count))) for count in (1, 2))
    except Exception as error:
        if out_of_memory(error):
            return mine.count
        raise
    rows = (SHARE_OF_FREE * free - one) / max(1, two - one) + 1
    pieces = 1
    while pieces < mine.count and -(-mine.count // pieces) > rows:
        pieces = min(2 * pieces, mine.count)
    return pieces


def kept_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes of the tensors that autograd keeps from a forward pass for its way back, each counted once."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()  # held until all is counted, so that no address is used twice
    del loss
    return sum(kept.values())


def available_memory() -> int | None:
    """Bytes that this process may still take, by the system and by its control group; None where neither says."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        if hasattr(os, "sysconf") and {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # there is no such group, or it has no limit
            continue
    return max(0, min(found)) if found else None
