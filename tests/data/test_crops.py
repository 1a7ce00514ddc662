"""Crops by name: the boxes, what is cut, and how it is resized."""

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.data.crops import ALIGNED_SIZE, CROPS, check_crop, crop_and_resize, resize_square
from celebgen_cli.errors import CelebgenError, UsageError


@pytest.fixture(scope="module")
def coordinates() -> Image.Image:
    """An aligned image whose red and green are the column and the row of the pixel."""
    rows, columns = np.mgrid[0:218, 0:178]
    return Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8))


def test_boxes_are_those_that_published_figures_use() -> None:
    assert CROPS == {
        "face178": (0, 20, 178, 198),
        "ddim": (25, 57, 153, 185),
        "center140": (19, 39, 159, 179),
        "center148": (15, 40, 163, 188),
        "square": (0, 20, 178, 198),
        "none": None,
    }


@pytest.mark.parametrize("name", [name for name, box in CROPS.items() if box])
def test_boxes_are_square_and_inside(name: str) -> None:
    left, top, right, bottom = CROPS[name]  # type: ignore[misc]
    assert right - left == bottom - top
    assert 0 <= left < right <= ALIGNED_SIZE[0] and 0 <= top < bottom <= ALIGNED_SIZE[1]


@pytest.mark.parametrize("name", [name for name, box in CROPS.items() if box])
def test_crop_at_its_own_size_is_untouched(name: str, coordinates: Image.Image) -> None:
    left, top, right, bottom = CROPS[name]  # type: ignore[misc]
    pixels = crop_and_resize(coordinates, name, right - left)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(coordinates)[top:bottom, left:right])


def test_ddim_crop_is_128_px_centred_at_89_121() -> None:
    left, top, right, bottom = CROPS["ddim"]  # type: ignore[misc]
    assert ((left + right) / 2, (top + bottom) / 2, right - left) == (89, 121, 128)


def test_resize_is_lanczos_of_the_cropped_image(coordinates: Image.Image) -> None:
    expected = coordinates.crop((0, 20, 178, 198)).resize((64, 64), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(crop_and_resize(coordinates, "face178", 64), np.asarray(expected))


def test_pixels_outside_of_the_box_have_no_influence() -> None:
    image = np.full((218, 178, 3), 255, dtype=np.uint8)
    image[40:188, 15:163] = 90
    assert (crop_and_resize(Image.fromarray(image), "center148", 32) == 90).all()


def test_none_takes_the_whole_image_whatever_its_size() -> None:
    image = np.zeros((60, 40, 3), dtype=np.uint8)
    image[:30] = 200
    pixels = crop_and_resize(Image.fromarray(image), "none", 32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels[:12] > 190).all() and (pixels[20:] < 10).all()


def test_wrong_image_size_is_refused() -> None:
    with pytest.raises(CelebgenError, match="100x100.*face178.*178x218"):
        crop_and_resize(Image.new("RGB", (100, 100)), "face178", 64)


def test_unknown_crop_is_a_usage_error_that_lists_the_names() -> None:
    with pytest.raises(UsageError, match="face177.*face178.*center140"):
        check_crop("face177")


def test_square_images_are_resized_only_if_need_be() -> None:
    image = Image.effect_noise((64, 64), 80).convert("RGB")
    np.testing.assert_array_equal(resize_square(image, 64), np.asarray(image))
    assert resize_square(image, 32).shape == (32, 32, 3)
    with pytest.raises(CelebgenError, match="square"):
        resize_square(Image.new("RGB", (64, 63)), 64)
