"""The identity of a network: a digest of its tensors, whatever file they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 in hexadecimal over names and values as float32, but for counters that decide nothing."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode("utf-8"))
            digest.update(state[name].detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
