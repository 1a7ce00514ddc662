"""PNG with metadata, and grids."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.errors import CelebgenError
from celebgen_cli.images import _fit, encode_png, grid, read_metadata, save_grid

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
METADATA = {"prompt": 'a "smiling" woman\nblond — naïve 🙂', "seed": 2**63, "guidance": 1.5, "negative": ""}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(encode_png(PIXELS[0], "words\nSteps: 3", METADATA))
    assert read_metadata(path) == METADATA
    with Image.open(path) as image:
        assert (image.format, image.mode, image.info["parameters"]) == ("PNG", "RGB", "words\nSteps: 3")
        assert np.array_equal(np.asarray(image), PIXELS[0])


def test_without_metadata(tmp_path: Path) -> None:
    data = encode_png(PIXELS[0])
    with Image.open(io.BytesIO(data)) as image:
        assert "parameters" not in image.info
        assert "celebgen" not in image.info
    (tmp_path / "plain.png").write_bytes(data)
    with pytest.raises(CelebgenError, match=r"plain\.png has no celebgen metadata"):
        read_metadata(tmp_path / "plain.png")


@pytest.mark.parametrize(("form", "comment"), [("GIF", b'{"hello": 1}'), ("JPEG", b'{"prompt": "x", "seed": 1}')])
def test_comments_of_others(tmp_path: Path, form: str, comment: bytes) -> None:
    path = tmp_path / f"x.{form.lower()}"
    Image.fromarray(PIXELS[0]).save(path, form, comment=comment)
    with pytest.raises(CelebgenError, match="has no celebgen metadata"):
        read_metadata(path)


@pytest.mark.parametrize("content", [b"", b"text", encode_png(PIXELS[0])[:20]])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(CelebgenError, match=r"x\.png cannot be read as an image"):
        read_metadata(tmp_path / "x.png")


def test_metadata_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encode_png(PIXELS[0], None, 5))  # type: ignore[arg-type]
    with pytest.raises(CelebgenError, match=r"x\.png has no celebgen metadata"):
        read_metadata(tmp_path / "x.png")


def test_grid_puts_images_row_by_row() -> None:
    sheet = grid(PIXELS, columns=3)
    assert sheet.shape == (2 * 16 + 2, 3 * 24 + 2 * 2, 3)
    for i, pixels in enumerate(PIXELS):
        top, left = (i // 3) * 18, (i % 3) * 26
        assert np.array_equal(sheet[top : top + 16, left : left + 24], pixels)
    assert (sheet[18:, 52:] == 255).all()  # the sixth place is empty
    assert grid(PIXELS).shape == sheet.shape  # about square by itself


def test_labels_are_below_their_image() -> None:
    labels = ["man", "", "a very long prompt that cannot fit", "笑", "x"]
    sheet = grid(PIXELS, columns=5, labels=labels)
    assert sheet.shape == (16 + 14, 5 * 26 - 2, 3)
    for i, label in enumerate(labels):
        below = sheet[16:30, i * 26 : i * 26 + 24]
        assert (below < 128).any() == bool(label)
        assert np.array_equal(sheet[:16, i * 26 : i * 26 + 24], PIXELS[i])
        assert (sheet[:, i * 26 + 24 : i * 26 + 26] == 255).all()  # no label runs into its neighbour


def test_a_label_that_is_cut_keeps_its_seed() -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    assert _fit(draw, "old man #3", 300) == "old man #3"
    cut = _fit(draw, "not smiling man with glasses #12", 90)
    assert cut.startswith("not ") and cut.endswith("... #12") and draw.textlength(cut) <= 90
    assert _fit(draw, "man #12345678901234567890", 40).endswith("...")


def test_save_grid(tmp_path: Path) -> None:
    save_grid(PIXELS, tmp_path / "new" / "sheet.png", 2)
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        assert np.array_equal(np.asarray(image), grid(PIXELS, 2))
