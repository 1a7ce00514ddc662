"""Training by many processes: gradients averaged by DistributedDataParallel, and losses that look at the whole batch.

Each process works on its part of the global batch of (seed, step), with what was drawn for the whole of it, so the
number of processes changes nothing but the order of sums: a run may go on with another number.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from celebgen_cli.errors import UsageError
from celebgen_cli.processes import world
from celebgen_cli.training.parts import Part

if TYPE_CHECKING:
    from celebgen_cli.training.task import Task


def own_part(batch_size: int) -> Part:
    """The part of the global batch that this process works on: contiguous parts of one size, in order of rank.

    Raises:
        UsageError: the batch cannot be shared out evenly.
    """
    where = world()
    part, rest = divmod(batch_size, where.size)
    if rest or not part:
        raise UsageError(
            f"a batch of {batch_size} cannot be shared evenly by {where.size} processes; choose a --batch-size that is "
            f"a multiple of {where.size}"
        )
    return Part(where.rank * part, part)


class LossModule(nn.Module):
    """A task's loss as the forward pass of a module, which is what DistributedDataParallel watches."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.module = task.module
        self._task = (task,)  # in a tuple, where nn.Module does not look

    def forward(self, step: int, part: Part) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        return self._task[0].loss(step, part)


def replicated(task: Task) -> nn.parallel.DistributedDataParallel:
    """The task's loss; `backward` of it averages the gradients of all processes (Li et al. 2020, arXiv 2006.15704).

    Weights are copied from the main process once. Buffers are constants, or statistics of the whole batch, and are left
    alone. A batch norm is told to look at the whole batch.
    """
    for module in task.module.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm2d  # the same parameters and buffers, under the same names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # `broadcast_buffers` has another name from torch 2.14 on
        return nn.parallel.DistributedDataParallel(
            LossModule(task), broadcast_buffers=False, gradient_as_bucket_view=True,
            find_unused_parameters=bool(getattr(task, "idle", False)),
        )  # fmt: skip


class WholeBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the parts of all processes, as torch's `SyncBatchNorm`, which knows GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world().size == 1:
            return super().forward(input)
        x = input.float()
        mean = mean_of_all(x.mean((0, 2, 3)))
        centred = x - mean[:, None, None]
        variance = mean_of_all(centred.square().mean((0, 2, 3)))
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                count = world().size * x.numel() / x.shape[1]
                self.num_batches_tracked += 1
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * (count / (count - 1)), momentum)
        y = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)


class _AllRows(torch.autograd.Function):
    """Rows of all processes in order of rank; backwards, the sum of what every process wants of one's own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        import torch.distributed as dist

        where = world()
        parts = [torch.empty_like(rows) for _ in range(where.size)]
        dist.all_gather(parts, rows.contiguous())
        ctx.own = slice(where.rank * len(rows), (where.rank + 1) * len(rows))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _sum(grads[0])[ctx.own]


class _Sum(torch.autograd.Function):
    """The sum over all processes; backwards too, for every process uses it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _sum(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _sum(grads[0])


def _sum(values: Tensor) -> Tensor:
    import torch.distributed as dist

    total = values.contiguous().clone()
    dist.all_reduce(total)
    return total


def mean_of_all(values: Tensor) -> Tensor:
    """The mean over all processes, with gradients."""
    if world().size == 1:
        return values
    result: Tensor = _Sum.apply(values)
    return result / world().size


def all_rows(rows: Tensor) -> Tensor:
    """[B / n, ...] of each of n processes -> [B, ...], with gradients.

    A loss of all rows, computed alike by every process, then has the gradient of one process with the whole batch once
    gradients are averaged.
    """
    if world().size == 1:
        return rows
    result: Tensor = _AllRows.apply(rows)
    return result


def norm_of_all(values: Tensor, scale: float = 1.0) -> Tensor:
    """Euclidean norm of a tensor of which every process has a part, in one unit for all of them; no gradient.

    scale: by what this process's values are too large, which decides how parts are added up; it is left in where there
        is one process.
    """
    if world().size == 1:
        return values.norm()
    return _sum((values.detach().float() / scale).square().sum()).sqrt()
