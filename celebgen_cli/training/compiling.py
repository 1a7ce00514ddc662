"""Time and memory of a task's networks: torch.compile, and activations that are computed again.

Both are done in place: names of weights, averages and checkpoints stay as they are.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from celebgen_cli.errors import first_line
from celebgen_cli.models.layers import Block

# for torch.compile; sizes that change, as the length of the longest caption does, become symbols by themselves
OPTIONS: dict[str, Any] = {}
# on a GPU texts are filled up to one length, and each of the few other sizes is worth kernels of its own
OPTIONS_ON_GPU: dict[str, Any] = {"dynamic": False}


def callable_networks(module: nn.Module) -> list[nn.Module]:
    """The outermost modules that are called: the module itself, or the parts of one that is a mere holder of parts."""
    if type(module).forward is not nn.Module.forward:
        return [module]
    return [part for child in module.children() for part in callable_networks(child)]


def compile_networks(networks: Sequence[nn.Module], device: torch.device) -> None:
    """Compile each network when it is first called."""
    for network in networks:
        network.compile(**(OPTIONS_ON_GPU if device.type == "cuda" else OPTIONS))


def undo(networks: Sequence[nn.Module]) -> None:
    """Go back to the networks as they were."""
    for network in networks:
        network._compiled_call_impl = None  # what nn.Module.compile has set


def reason(error: BaseException) -> str:
    """What a compiler stumbled over, in a few words: it wraps its errors in long ones of its own."""
    while inner := getattr(error, "inner_exception", None) or error.__cause__:
        error = inner
    return first_line(error).rstrip(".")


def recompute(module: nn.Module) -> None:
    """Let blocks compute their activations again on the way back, rather than keep them."""
    for part in module.modules():
        if isinstance(part, Block):
            part.recompute = True
        elif callable(switch := getattr(part, "set_grad_checkpointing", None)):  # open_clip's towers
            switch(True)
