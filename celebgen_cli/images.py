"""Pictures on disk: PNG with metadata, and grids."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_write_bytes


def encode_png(pixels: np.ndarray, parameters: str | None = None, metadata: Mapping[str, Any] | None = None) -> bytes:
    """PNG bytes of uint8 [H, W, 3], with `parameters` (text other tools read) and `celebgen` (JSON) when given."""
    info = PngImagePlugin.PngInfo()
    if parameters is not None:
        info.add_itxt("parameters", parameters)
    if metadata is not None:
        info.add_itxt("celebgen", json.dumps(metadata, ensure_ascii=False))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def read_metadata(path: Path) -> dict[str, Any]:
    """The `celebgen` metadata of a PNG.

    Raises:
        CelebgenError: the file is not a PNG that celebgen made.
    """
    try:
        with Image.open(path) as image:
            text = image.info.get("celebgen")
    except OSError as error:
        raise CelebgenError(f"{path} cannot be read as an image: {error}") from error
    try:
        metadata = json.loads(text or "")
        if not isinstance(metadata, dict):
            raise ValueError
    except ValueError as error:
        raise CelebgenError(f"{path} has no celebgen metadata; it was not made by `celebgen sample`") from error
    return metadata


def grid(
    images: np.ndarray, columns: int | None = None, labels: Sequence[str] | None = None, gap: int = 2
) -> np.ndarray:
    """Arrange uint8 [N, H, W, 3] in rows of `columns` (default: about square), with a label under each if given."""
    count, height, width, _ = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    below = 14 if labels else 0
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap + below) - gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, pixels in enumerate(images):
        left, top = (i % columns) * (width + gap), (i // columns) * (height + gap + below)
        sheet.paste(Image.fromarray(pixels), (left, top))
        if labels:
            draw.text((left + 2, top + height + 1), _fit(draw, labels[i], width - 4), fill="black")
    return np.asarray(sheet)


def _fit(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than `width` pixels; PIL's built-in font knows Latin-1 only."""
    text = text.encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def save_grid(images: np.ndarray, path: Path, columns: int | None = None, labels: Sequence[str] | None = None) -> None:
    """Write a grid of uint8 [N, H, W, 3] as PNG."""
    atomic_write_bytes(path, encode_png(grid(images, columns, labels)))
