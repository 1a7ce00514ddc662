"""Pictures as text that an HTML page can hold."""

from __future__ import annotations

import base64
import io

import numpy as np


def picture(pixels: np.ndarray, largest: int = 128, quality: int = 85) -> str:
    """uint8 [H, W, 3] as a JPEG data URI, its side at most `largest` pixels."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > largest:
        image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def transparent(pixels: np.ndarray) -> str:
    """uint8 [H, W, 4] as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
