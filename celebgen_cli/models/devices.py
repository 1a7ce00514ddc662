"""Which device, and which precision on it."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from celebgen_cli.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_device(name: str | None = None) -> torch.device:
    """The named device (cuda, cuda:1, mps, cpu), or the best there is.

    Raises:
        UsageError: the device does not exist here.
    """
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cuda", "mps", "cpu"):
            raise RuntimeError
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"there is no device '{name}' here; use cuda, mps or cpu") from error
    return device


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    # matrix units make bf16 several times faster than fp32, AVX-512's dot products twice; other CPUs emulate it slowly
    units = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("amx_tile", "avx512_bf16"))
    return device.type == "cpu" and any(unit is not None and unit() for unit in units)


def resolve_precision(device: torch.device, precision: str = "auto") -> str:
    """The precision that `auto` stands for on this device: bf16 where the hardware multiplies it fast, fp16 on
    other CUDA devices, else fp32. Others come back as they are.

    Raises:
        UsageError: the precision is unknown, or fp16 is asked for away from CUDA.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision '{precision}'; choose one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return "bf16" if _has_fast_bf16(device) else "fp16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise UsageError(f"fp16 needs a CUDA device; on {device.type} use bf16 or fp32")
    return precision


def autocast(device: torch.device, precision: str = "auto") -> Callable[[], AbstractContextManager[None]]:
    """A context of mixed precision, made anew at each call; `resolve_precision` says which.

    Raises:
        UsageError: see `resolve_precision`.
    """
    precision = resolve_precision(device, precision)
    if precision == "fp32":
        return nullcontext
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return lambda: torch.autocast(device.type, dtype)


def memory_format(device: torch.device) -> torch.memory_format:
    """The layout of pictures and weights that a device trains fastest with; on CPUs contiguous tensors were faster."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def sent(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device, without waiting: a plain copy to a GPU waits for everything that was asked of it before."""
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def peak_memory(device: torch.device) -> dict[str, float]:
    """`memory`: the most GiB that this process has held so far, on a CUDA device or else in main memory.

    Empty where the system does not say (Windows).
    """
    if device.type == "cuda":
        return {"memory": torch.cuda.max_memory_allocated(device) / 2**30}
    try:
        import resource
    except ImportError:
        return {}
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, KiB elsewhere
    return {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30}
