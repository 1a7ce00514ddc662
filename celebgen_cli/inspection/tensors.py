"""What a safetensors file holds, from its header alone."""

import json
import math
from pathlib import Path

_SCALE = "::scale"  # as in celebgen_cli.models.quantize, which needs torch
_LARGEST = 100 * 2**20  # bytes of a header, as the format says


def parameters(path: Path) -> int | None:
    """How many numbers the tensors of a file have, the scales of 8-bit storage left out; None where it is damaged."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= _LARGEST else {}
        return sum(
            math.prod(entry["shape"])
            for name, entry in header.items()
            if name != "__metadata__" and not name.endswith(_SCALE)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
