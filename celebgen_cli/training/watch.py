"""Watching a run go wrong: losses and gradients that are no numbers, and a loss that climbs and stays up.

Reading a number from a GPU makes the program wait for it, so there the numbers of some steps are read together. What
they say of a step is the same.
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

HISTORY = 200  # losses whose median is the measure
# (losses that must have been seen, distances above the median, steps in a row): a climb is called divergence when it is
# high for long, or absurd for a moment. Neither a single hard batch nor warm-up looks like that.
RULES = ((50, 10.0, 25), (3, 1000.0, 5))
SKIPPED = 25  # steps in a row that a gradient scaler may skip; it halves its scale each time


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and the step (0-based) whose batch began it."""

    step: int
    loss: float
    reason: str


class Watch:
    """Judges the losses and gradient norms of steps.

    Args:
        scaled: a gradient scaler skips steps whose gradients are not finite, so a few of them are no trouble.
    """

    def __init__(self, scaled: bool = False) -> None:
        self.scaled = scaled
        self._pending: list[tuple[int, Tensor]] = []
        self._calm: deque[float] = deque(maxlen=HISTORY)
        self._climbing: list[tuple[int, float, float]] = []  # step, loss, distances above the median
        self._skipped = 0

    @property
    def pending(self) -> int:
        """Steps that were added and not judged yet."""
        return len(self._pending)

    @property
    def climbing(self) -> bool:
        """Whether the last loss was far above the median: what is learnt now may have to be thrown away."""
        return bool(self._climbing)

    def state(self) -> dict[str, Any]:
        """What has been seen, for a checkpoint: a run that goes on must judge as one that was never stopped."""
        return {"calm": list(self._calm), "climbing": self._climbing, "skipped": self._skipped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._calm = deque(state["calm"], maxlen=HISTORY)
        self._climbing = [(int(step), loss, distance) for step, loss, distance in state["climbing"]]
        self._skipped = int(state["skipped"])

    def add(self, step: int, loss: Tensor, norms: Sequence[Tensor]) -> None:
        """Note the loss (a scalar) and the gradient norms of a step; nothing is read from the device yet."""
        values = [loss.detach(), *norms]
        self._pending.append((step, torch.stack([value.float().reshape(()) for value in values])))

    def judge(self) -> Trouble | None:
        """Read what was added, in order, and say what is wrong with it, if anything."""
        pending, self._pending = self._pending, []
        if not pending:
            return None
        rows = torch.stack([values for _, values in pending]).tolist()
        for (step, _), (loss, *norms) in zip(pending, rows, strict=True):
            trouble = self._not_finite(step, loss, norms) or self._diverged(step, loss)
            if trouble is not None:
                return trouble
        return None

    def _not_finite(self, step: int, loss: float, norms: Sequence[float]) -> Trouble | None:
        if all(map(math.isfinite, (loss, *norms))):
            self._skipped = 0
            return None
        self._skipped += 1
        if self.scaled and self._skipped < SKIPPED:
            return None
        which = "has a gradient that" if math.isfinite(loss) else "or its gradient"
        return Trouble(step, loss, f"loss {loss:.4g} of step {step + 1} {which} is not finite")

    def _diverged(self, step: int, loss: float) -> Trouble | None:
        if not math.isfinite(loss):
            return None
        distance = self._distance(loss)
        if distance <= next((height for seen, height, _ in RULES if len(self._calm) >= seen), math.inf):
            self._climbing.clear()
            self._calm.append(loss)
            return None
        self._climbing.append((step, loss, distance))
        for seen, height, patience in RULES:
            last = self._climbing[-patience:]
            if len(self._calm) >= seen and len(last) == patience and all(d > height for _, _, d in last):
                begin, usual = last[0][0], statistics.median(self._calm)
                return Trouble(
                    begin, loss,
                    f"the loss diverges: {loss:.4g} at step {step + 1}, and for {patience} steps far above the median "
                    f"{usual:.4g} of the steps before, from step {begin + 1} on",
                )  # fmt: skip
        return None

    def _distance(self, loss: float) -> float:
        """How far a loss is above the median of calm steps, in units of their spread; losses may be negative."""
        if not self._calm:
            return 0.0
        middle = statistics.median(self._calm)
        spread = 1.4826 * statistics.median(abs(value - middle) for value in self._calm)
        return (loss - middle) / max(spread, 0.2 * abs(middle), 1e-3)
