"""The noise schedule: how much of the signal is left at each timestep, and which timesteps a sampler visits.

Time runs over 0..T. Level 0 is clean data (alpha_bar = 1) and level T is pure noise (alpha_bar is exactly 0), so
what sampling starts from is exactly what training saw at T. A noised sample is

    x_t = alpha(t) x0 + sigma(t) eps,   alpha = sqrt(alpha_bar),   sigma = sqrt(1 - alpha_bar),   eps ~ N(0, I).

Because alpha(T) = 0, nothing in this package divides by alpha.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from celebgen_cli.errors import CelebgenError, UsageError


@dataclass(frozen=True)
class Schedule:
    """A variance-preserving schedule with zero terminal signal-to-noise ratio.

    kind "cosine" is Nichol & Dhariwal 2021 (arXiv 2102.09672), equation 17,

        alpha_bar(t) = f(t) / f(0),   f(t) = cos^2( (t/T + offset) / (1 + offset) * pi/2 ),

    without their clipping of beta to 0.999, so that f(T) = 0 holds (Lin et al. 2023, arXiv 2305.08891, section 3.1).

    Raises CelebgenError for an unknown kind, for fewer than 2 timesteps and for a negative offset.
    """

    kind: str = "cosine"
    timesteps: int = 1000  # T; levels are 0..T, training draws t from 1..T
    offset: float = 0.008  # keeps the first steps from being too small to learn from

    def __post_init__(self) -> None:
        if self.kind != "cosine":
            raise CelebgenError(f"Unknown noise schedule {self.kind!r}: the only kind is 'cosine'.")
        if type(self.timesteps) is not int or self.timesteps < 2:
            raise CelebgenError(f"A noise schedule needs a whole number of timesteps above 1, not {self.timesteps!r}.")
        if not (isinstance(self.offset, int | float) and 0 <= self.offset < math.inf):
            raise CelebgenError(f"The offset of a cosine schedule must be a number of at least 0, not {self.offset!r}.")

    @classmethod
    def cosine(cls, timesteps: int = 1000) -> Schedule:
        """The cosine schedule with the usual offset."""
        return cls(kind="cosine", timesteps=timesteps)

    @classmethod
    def from_dict(cls, values: object) -> Schedule:
        """The schedule that `to_dict` described. Raises CelebgenError for keys or values that no schedule has."""
        if not isinstance(values, Mapping):
            raise CelebgenError(f"A noise schedule is described by names and values, not by {values!r:.60}.")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CelebgenError(f"A noise schedule has no such setting: {', '.join(unknown)}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @property
    def alphas_cumprod(self) -> Tensor:
        """alpha_bar, float64 [T + 1] on the CPU, strictly falling from exactly 1 at index 0 to exactly 0 at index T."""
        return _table(self, "alpha_bar", torch.device("cpu"), torch.float64)

    def alpha_bar(self, t: int) -> float:
        """alpha_bar at one timestep in 0..T, in double precision. Raises ValueError outside that range."""
        return float(self.alphas_cumprod[self._checked(t)])

    def alpha(self, t: Tensor | int, like: Tensor | None = None) -> Tensor:
        """sqrt(alpha_bar): what the signal is multiplied by; float32, or float64 where `like` is.

        t: int64 of any shape (usually [B]) with values in 0..T, not checked because that would stall a GPU; or one
            int, which is checked (ValueError).
        like: a tensor [B, ...]; the result is then shaped [B, 1, ..., 1] to broadcast with it. Without it, t's shape.
        The result is on t's device (like's device for an int).
        """
        return self._look_up("alpha", t, like)

    def sigma(self, t: Tensor | int, like: Tensor | None = None) -> Tensor:
        """sqrt(1 - alpha_bar): what the noise is multiplied by. Arguments as for `alpha`."""
        return self._look_up("sigma", t, like)

    def variance(self, t: Tensor | int, like: Tensor | None = None) -> Tensor:
        """1 - alpha_bar = 1 / (SNR + 1): the noise's share of the variance. Arguments as for `alpha`."""
        return self._look_up("variance", t, like)

    def snr(self, t: Tensor | int, like: Tensor | None = None) -> Tensor:
        """alpha_bar / (1 - alpha_bar): 0 at T, infinite at 0. Arguments as for `alpha`."""
        return self._look_up("snr", t, like)

    def _look_up(self, name: str, t: Tensor | int, like: Tensor | None) -> Tensor:
        dtype = torch.float64 if like is not None and like.dtype == torch.float64 else torch.float32
        if isinstance(t, Tensor):
            values = _table(self, name, t.device, dtype)[t]
        else:
            device = torch.device("cpu") if like is None else like.device
            values = _table(self, name, device, dtype)[self._checked(t)]
        return values if like is None else broadcast(values, like)

    def _checked(self, t: int) -> int:
        t = operator.index(t)
        if not 0 <= t <= self.timesteps:
            raise ValueError(f"timestep {t} is outside 0..{self.timesteps}")
        return t


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """values [B] shaped [B, 1, ..., 1] with as many dimensions as `like`; a single value stays as it is."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim)) if values.ndim else values


@functools.cache
def _table(schedule: Schedule, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    """One value a level, [T + 1], computed in float64 and kept per device so that training never waits for a copy."""
    # A table made inside inference_mode would be barred from autograd for ever after.
    with torch.inference_mode(False), torch.no_grad():
        # The angle to the end of the schedule: sine of what is left keeps full precision where alpha_bar is near 0.
        steps = torch.arange(schedule.timesteps, -1, -1, dtype=torch.float64, device="cpu") / schedule.timesteps
        rest = torch.sin(steps / (1 + schedule.offset) * (math.pi / 2)) ** 2
        alpha_bar = rest / rest[0]  # exactly 1 at level 0, exactly 0 at level T
        values = {
            "alpha_bar": lambda: alpha_bar,
            "alpha": lambda: alpha_bar.sqrt(),
            "sigma": lambda: (1 - alpha_bar).sqrt(),
            "variance": lambda: 1 - alpha_bar,
            "snr": lambda: alpha_bar / (1 - alpha_bar),
        }[name]()
        return values.to(dtype).to(device)


def trailing_timesteps(timesteps: int, steps: int, start: float = 1.0) -> list[int]:
    """`steps` evenly spaced timesteps, descending from exactly T = `timesteps`, or from level round(start * T).

    "Trailing" spacing, Lin et al. 2023 (arXiv 2305.08891), section 3.3 and table 2. The last entry is about T / steps;
    the samplers go from there to level 0 themselves.

    start: the fraction of T where denoising begins, in (0, 1]; the caller supplies x at that level. Raises UsageError
    for a start outside (0, 1], and for fewer than one step or more steps than there are levels.
    """
    if not 0 < start <= 1:
        raise UsageError(f"The start of denoising must be above 0 and at most 1, not {start}.")
    level = round(start * timesteps)
    if not 1 <= steps <= level:
        raise UsageError(f"The number of sampling steps must be from 1 to {level}, not {steps}.")
    return [round(level * (steps - i) / steps) for i in range(steps)]
