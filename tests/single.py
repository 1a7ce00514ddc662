"""A stand-in for tensors on a device that has no float64, such as Apple's GPUs."""

import torch
from torch import Tensor


class Single(Tensor):
    """A CPU tensor that refuses float64 until it is fetched by `cpu`, as does all that is computed from it."""

    def cpu(self) -> Tensor:  # type: ignore[override]
        return self.as_subclass(Tensor)

    def double(self) -> Tensor:  # type: ignore[override]
        raise TypeError("this device has no float64")

    def to(self, *args: object, **kwargs: object) -> Tensor:  # type: ignore[override]
        if torch.float64 in (*args, *kwargs.values()):
            raise TypeError("this device has no float64")
        return super().to(*args, **kwargs)  # type: ignore[call-overload, no-any-return]


def single(values: Tensor) -> Tensor:
    """The same values on such a device."""
    return values.detach().float().as_subclass(Single)
