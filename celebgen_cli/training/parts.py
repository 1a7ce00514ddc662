"""Parts of a global batch: what one process of many, or one micro-batch of an accumulated step, works on.

The batch of a step is a function of (seed, step) and nothing else. A part is a range of its rows, so however a batch is
shared out, every row meets the same caption, noise, timestep and flip.
"""

import itertools
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """Rows `first` to `first + count - 1` of a batch."""

    first: int
    count: int

    @property
    def rows(self) -> slice:
        """The rows as a slice of anything that was drawn for the whole batch: array, tensor, list."""
        return slice(self.first, self.first + self.count)

    def of(self, drawn: Any) -> Any:
        """This part of what was drawn for the whole batch."""
        return drawn[self.rows]

    def split(self, pieces: int) -> list["Part"]:
        """The part in `pieces` contiguous parts, in order, whose sizes differ by one at most.

        Raises:
            ValueError: there are fewer rows than pieces.
        """
        if not 1 <= pieces <= self.count:
            raise ValueError(f"{self.count} rows cannot be split into {pieces} parts")
        bounds = [self.first + i * self.count // pieces for i in range(pieces + 1)]
        return [Part(a, b - a) for a, b in itertools.pairwise(bounds)]
