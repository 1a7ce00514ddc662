"""The gradients of a batch: in as many micro-batches as memory asks for, compiled or not, by one process or several."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.processes import world
from celebgen_cli.training import compiling, fitting
from celebgen_cli.training.distributed import own_part, replicated
from celebgen_cli.training.parts import Part
from celebgen_cli.training.task import AUTOMATIC, Task

Logged = Mapping[str, Tensor | float]


def check_parts(coupled: bool, batch_size: int, pieces: int) -> None:
    """Check that this process's part of a batch can be computed in `pieces` micro-batches.

    coupled: whether the loss looks at the whole batch, see `celebgen_cli.training.task.Task`.

    Raises:
        UsageError: it cannot, or the processes cannot share the batch.
    """
    if pieces > 1 and coupled:
        raise UsageError(
            f"the rows of a batch see each other in this loss, so a batch of {batch_size} is not computed in "
            "parts; leave --accumulate out, and choose a smaller --batch-size or add --checkpoint-activations "
            "where memory is short"
        )
    if pieces > (mine := own_part(batch_size)).count:
        raise UsageError(
            f"--accumulate {pieces} is more than the {mine.count} pictures of a batch; choose a smaller one"
        )


class Gradients:
    """Computes the gradients of a task's batches.

    Args:
        pieces: micro-batches that this process's part of a batch is computed in; AUTOMATIC until `fit` has found it.
        autocast: makes a context of mixed precision.
        warn: gets one sentence where something is done in another way than was asked for.
        split: is called when memory runs out in the middle of a run and `pieces` has grown.

    Raises:
        UsageError: the batch is to be split and cannot be.
    """

    def __init__(
        self,
        task: Task,
        batch_size: int,
        pieces: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[None]],
        scaler: torch.amp.GradScaler,
        warn: Callable[[str], None],
        split: Callable[[int], None],
    ) -> None:
        self.task, self.device, self.autocast, self.scaler, self.warn, self.split = (
            task, device, autocast, scaler, warn, split
        )  # fmt: skip
        self.whole, self.mine = Part(0, batch_size), own_part(batch_size)  # the batch, and what this process computes
        self.pieces, self.automatic = pieces, pieces == AUTOMATIC
        # the CPU's fused attention is fast forwards and several times slower than plain products backwards: our own
        # layers know that, open_clip's do not
        self.attention = (lambda: sdpa_kernel(SDPBackend.MATH)) if device.type == "cpu" else nullcontext
        self.compiled: Sequence[nn.Module] = ()
        self.replicas: nn.parallel.DistributedDataParallel | None = None  # with many processes, the task's loss
        check_parts(task.coupled, batch_size, pieces)

    def prepare(self, compile: bool) -> None:
        """Compile the networks, and join the other processes; after `fit`, which does neither."""
        if compile:
            self.compiled = self.task.networks()
            compiling.compile_networks(self.compiled, self.device)
        if world().size > 1:
            self.replicas = replicated(self.task)

    def __call__(self, step: int) -> tuple[Tensor, Logged]:
        """Add the gradients of the batch of a step (scaled where there is a scaler); its loss and figures.

        Raises:
            CelebgenError: memory ran out, and the batch was not to be split or cannot be split further.
        """
        while True:
            try:
                return self._accumulated(step, self.mine.split(self.pieces))
            except Exception as error:  # compilers raise what they like
                self._forget()
                if fitting.out_of_memory(error):
                    self._split_further(step, error)
                elif self.compiled and not isinstance(error, CelebgenError):
                    self.warn(
                        f"torch.compile does not work here ({compiling.reason(error)}); training goes on without it"
                    )
                    compiling.undo(self.compiled)
                    self.compiled = ()
                else:
                    raise

    def fit(self, step: int) -> int:
        """Find by trial in how many micro-batches a batch fits into memory; weights and buffers stay as they are.

        Raises:
            CelebgenError: not even one row fits.
        """
        if self.task.coupled:
            return 1
        module = self.task.module
        buffers = {name: value.clone() for name, value in module.named_buffers()}
        # AdamW makes its two moments with the first step; a fit without them would not last
        moments = [torch.empty_like(p) for p in module.parameters() if p.requires_grad for _ in range(2)]
        module.train()

        def forward(part: Part) -> Tensor:
            with self.autocast(), self.attention():
                return self.task.loss(step, part)[0]

        def attempt(part: Part) -> None:
            try:
                with self.attention():
                    forward(part).backward()
            finally:
                self._forget()

        try:
            pieces = fitting.fewest_parts(self.mine, attempt, forward, self.device)
        finally:
            del moments
            for name, value in module.named_buffers():
                value.copy_(buffers[name])
        if pieces > 1:
            largest = -(-self.mine.count // pieces)
            self.warn(f"a batch of {self.mine.count} is computed in {pieces} parts of at most {largest}, which fit")
        return pieces

    def _accumulated(self, step: int, parts: Sequence[Part]) -> tuple[Tensor, Logged]:
        """The mean over the rows of all parts, whose gradients are added up."""
        total, figures = torch.zeros((), device=self.device), dict[str, Tensor | float]()
        for part in parts:
            share = part.count / self.mine.count
            # gradients are shared between processes with the last part
            apart = nullcontext() if self.replicas is None or part is parts[-1] else self.replicas.no_sync()
            with apart:
                with self.autocast(), self.attention():
                    loss, logged = self._loss(step, part)
                with self.attention():
                    self.scaler.scale(loss * share).backward()
            total = total + loss.detach() * share
            for name, value in logged.items():
                figures[name] = figures.get(name, 0.0) + value * share
        return total, figures

    def _loss(self, step: int, part: Part) -> tuple[Tensor, Logged]:
        if self.replicas is not None:
            averaged: tuple[Tensor, Logged] = self.replicas(step, part)
            return averaged
        return self.task.loss(step) if part == self.whole else self.task.loss(step, part)

    def _forget(self) -> None:
        self.task.module.zero_grad(set_to_none=True)

    def _split_further(self, step: int, error: Exception) -> None:
        """Memory ran out in the middle of a run: take twice as many micro-batches where that was left to us."""
        alone = world().size == 1  # one of many processes cannot do so by itself
        if not (self.automatic and alone) or self.task.coupled or self.pieces == self.mine.count:
            remedy = "" if self.task.coupled else "give --batch-size auto or a larger --accumulate, "
            raise CelebgenError(
                f"memory of {self.device} ran out in step {step + 1} with {-(-self.mine.count // self.pieces)} "
                f"pictures at a time; {remedy}add --checkpoint-activations, or choose a smaller --batch-size"
            ) from error
        self.pieces = min(2 * self.pieces, self.mine.count)
        self.warn(f"memory ran out in step {step + 1}; from here on a batch is computed in {self.pieces} parts")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.split(self.pieces)
