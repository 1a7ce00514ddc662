"""Crops of the aligned CelebA image by name, and the one resize that this project uses.

Published figures on CelebA use crops that cannot be compared with each other, so a crop has a name here, the name is
stored with the data, and every figure is printed with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celebgen_cli.errors import CelebgenError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Box = tuple[int, int, int, int]

ALIGNED_SIZE = (178, 218)
"""Width and height in pixels of an aligned CelebA image, which the boxes below belong to."""

CROPS: dict[str, Box | None] = {
    "face178": (0, 20, 178, 198),  # the whole width; this project's own
    "ddim": (25, 57, 153, 185),  # 128 px centred at x 89, y 121: DDIM, PNDM, DPM-Solver, U-ViT on CelebA-64
    "center140": (19, 39, 159, 179),  # central 140 px: score_sde, Soft Diffusion
    "center148": (15, 40, 163, 188),  # NVAE, LSGM
    "square": (0, 20, 178, 198),  # the central square of an image of any size: people's own pictures
    "none": None,  # the whole image: ADM-IP, DiffuseVAE
}
"""Box (left, top, right, bottom) in pixels of the 178x218 aligned image, by name; None is the whole image."""

FULL: Box = (0, 0, *ALIGNED_SIZE)
"""The box of `none`."""

FILTER = "lanczos"
"""The name of the resize filter: PIL's antialiased LANCZOS, in one pass from the crop to the final size."""


def check_crop(name: str) -> str:
    """Return `name` if it is the name of a crop.

    Raises:
        UsageError: it is not; the sentence lists the names that exist.
    """
    if name not in CROPS:
        raise UsageError(f"there is no crop named {name!r}; choose one of {', '.join(CROPS)}")
    return name


def crop_and_resize(image: Image.Image, crop: str, size: int) -> np.ndarray:
    """Cut the named box out of an aligned image and resize it to `size` x `size` pixels with LANCZOS.

    The crop is cut first and resized alone, so no pixel outside of the box leaks in. `none` takes the whole image,
    whatever its size, and squeezes it into the square: the proportions change where the image is not square. `square`
    takes the central square of an image of any size.
    Where the box is `size` pixels wide already, no filter touches the pixels.

    Args:
        image: RGB image; 178x218 pixels for every crop but `square` and `none`.
        crop: a name in `CROPS`.
        size: pixels of the result's side, at least 1.

    Returns:
        uint8 array [size, size, 3], RGB, 0 to 255.

    Raises:
        UsageError: no crop has this name.
        CelebgenError: the image is not 178x218 and the crop is a box within 178x218.
    """
    box = CROPS[check_crop(crop)]
    if crop == "square":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
    elif box is not None and image.size != ALIGNED_SIZE:
        raise CelebgenError(
            f"the image is {image.width}x{image.height} pixels and the crop {crop} is a box of an aligned "
            f"{ALIGNED_SIZE[0]}x{ALIGNED_SIZE[1]} image"
        )
    return resize(image if box is None else image.crop(box), size)


def resize(image: Image.Image, size: int) -> np.ndarray:
    """Resize to `size` x `size` pixels with LANCZOS; at that size the pixels are passed on untouched.

    Returns:
        uint8 array [size, size, 3], RGB, 0 to 255.
    """
    import numpy as np
    from PIL import Image

    if image.mode != "RGB":
        image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def resize_square(image: Image.Image, size: int) -> np.ndarray:
    """Resize an image that is a square crop already; at the right size its pixels are passed on untouched.

    Returns:
        uint8 array [size, size, 3], RGB, 0 to 255.

    Raises:
        CelebgenError: the image is not square, so it cannot be a finished crop.
    """
    if image.width != image.height:
        raise CelebgenError(f"the image is {image.width}x{image.height} pixels: an image cropped already is square")
    return resize(image, size)
