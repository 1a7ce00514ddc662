"""The usual image, quickly: a plain JPEG that is small. The same bytes as by Pillow, or None, and Pillow does it.

`simplejpeg` and Pillow both are libjpeg-turbo, whose arithmetic is exact; the first has less around it. Whether they
and the resize agree on this machine is tried once, on noise, before either is used.
"""

from __future__ import annotations

import functools
import io

import numpy as np

from celebgen_cli.data import lanczos
from celebgen_cli.data.crops import ALIGNED_SIZE, CROPS

_HEADERS = (b"Exif\0\0", b"ns.adobe.com")  # an orientation may be written there, so Pillow has to look


def quick_pixels(data: bytes, crop: str | None, size: int) -> np.ndarray | None:
    """Decode, crop and resize a JPEG.

    Args:
        data: the file.
        crop: a name in `CROPS` for an aligned image, or None for a square one that is cut already.
        size: pixels of the result's side.

    Returns:
        uint8 [size, size, 3], exactly what `decode_rgb` and `crop_and_resize` or `resize_square` give; None where the
        file is anything but a plain small JPEG in colour of the size that the crop needs, without metadata.
    """
    pixels = decode_plain(data)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    if crop is None:
        if height != width:
            return None
    else:
        if (width, height) != ALIGNED_SIZE:
            return None
        if (box := CROPS[crop]) is not None:
            left, top, right, bottom = box
            pixels = pixels[top:bottom, left:right]
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    if not lanczos.is_pillows(height, width, size):
        return None
    return lanczos.resize(pixels, size)


def decode_plain(data: bytes) -> np.ndarray | None:
    """The pixels of a plain JPEG, uint8 [H, W, 3], or None where Pillow has to look at it."""
    if not data.startswith(b"\xff\xd8\xff") or not data.endswith(b"\xff\xd9") or not is_pillows():
        return None
    if any(header in data for header in _HEADERS):
        return None
    import simplejpeg

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours != "YCbCr" or max(height, width) > lanczos.LARGEST:
            return None
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return pixels


@functools.cache
def is_pillows() -> bool:
    """Whether simplejpeg is there and decodes what Pillow does, with every subsampling of colour."""
    try:
        import simplejpeg
    except ImportError:
        return False
    from PIL import Image

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        for progressive in (False, True):
            buffer = io.BytesIO()
            noise.save(buffer, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
            theirs = np.asarray(Image.open(buffer))
            if not np.array_equal(simplejpeg.decode_jpeg(buffer.getvalue(), "RGB"), theirs):
                return False
    return True
