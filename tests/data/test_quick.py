"""The quick way gives what the general way gives, or leaves the file to it."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.data import quick
from celebgen_cli.data.crops import CROPS, crop_and_resize, resize_square
from celebgen_cli.data.sources import BadImage, decode_rgb

pytest.importorskip("simplejpeg")


def jpeg(size: tuple[int, int] = (178, 218), mode: str = "RGB", kind: str = "JPEG", **options: object) -> bytes:
    rng = np.random.default_rng(size[0])
    image = Image.fromarray(rng.integers(0, 256, (size[1] // 6, size[0] // 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("crop", list(CROPS))
@pytest.mark.parametrize("size", [32, 128, 256])
def test_same_bytes_as_the_general_way(crop: str, size: int) -> None:
    for options in ({"quality": 92}, {"quality": 60, "subsampling": 0}, {"quality": 75, "progressive": True}):
        data = jpeg(**options)  # type: ignore[arg-type]
        pixels = quick.quick_pixels(data, crop, size)
        assert pixels is not None and pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, crop_and_resize(decode_rgb(data), crop, size))


@pytest.mark.parametrize("size", [64, 100])
def test_squares_that_are_cut_already(size: int) -> None:
    data = jpeg((100, 100))
    pixels = quick.quick_pixels(data, None, size)
    assert pixels is not None
    np.testing.assert_array_equal(pixels, resize_square(decode_rgb(data), size))
    assert quick.quick_pixels(jpeg((100, 90)), None, size) is None


def test_everything_else_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = jpeg()
    for data in (
        b"",
        b"\xff\xd8\xff\xd9",
        jpeg(kind="PNG"),
        jpeg(mode="L"),
        jpeg(mode="CMYK"),
        jpeg(exif=exif),
        jpeg((177, 218)),
        whole[:-400],
        whole[:-400] + b"\xff\xd9",
    ):
        assert quick.quick_pixels(data, "face178", 64) is None
    assert quick.quick_pixels(jpeg((600, 600)), None, 64) is None


def test_what_is_damaged_is_left_to_pillow_or_decoded_alike() -> None:
    data = jpeg()
    rng = np.random.default_rng(1)
    taken = 0
    for _ in range(300):
        broken = bytearray(data)
        broken[rng.integers(2, len(data) - 2)] = rng.integers(256)
        pixels = quick.decode_plain(bytes(broken))
        if pixels is None:
            continue
        try:
            theirs = np.asarray(decode_rgb(bytes(broken)))
        except BadImage:
            continue  # a header that only Pillow minds
        np.testing.assert_array_equal(pixels, theirs)
        taken += 1
    assert taken > 50


def test_without_simplejpeg_pillow_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    quick.is_pillows.cache_clear()
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert quick.quick_pixels(jpeg(), "face178", 64) is None
    quick.is_pillows.cache_clear()
