"""Pictures on disk: PNG, WebP and JPEG with metadata, and grids.

PNG holds its metadata in two iTXt chunks. WebP and JPEG have none: there `parameters` is EXIF's UserComment, where
other tools look for it, and the JSON is an XMP property `celebgen:metadata`. A GIF has the JSON as its comment.
"""

import html
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import MARK, atomic_write_bytes


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


_USER_COMMENT, _EXIF = 0x9286, 0x8769  # Exif 2.3, sections 4.6.5 and 4.6.3
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:celebgen="urn:celebgen:metadata">'
    '<celebgen:metadata>{}</celebgen:metadata></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_XMP_VALUE = re.compile(rb"<celebgen:metadata>(.*?)</celebgen:metadata>", re.DOTALL)


def encode(pixels: np.ndarray, form: str, parameters: str, metadata: Mapping[str, Any]) -> bytes:
    """The file of uint8 [H, W, 3] as "png", "webp" (both without loss) or "jpeg" (quality 95, full colour resolution).

    Raises:
        CelebgenError: the metadata do not fit; JPEG has room for 64 KiB of each kind.
    """
    if form == "png":
        return encode_png(pixels, parameters, metadata)
    exif = Image.Exif()
    exif.get_ifd(_EXIF)[_USER_COMMENT] = b"UNICODE\0" + parameters.encode("utf-16-be")
    xmp = _XMP.format(html.escape(json.dumps(metadata), quote=False)).encode("utf-8")
    settings: dict[str, Any] = {"lossless": True} if form == "webp" else {"quality": 95, "subsampling": 0}
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, form, exif=exif, xmp=xmp, **settings)
    except ValueError as error:
        raise CelebgenError(
            f"the prompt does not fit into the metadata of a {form.upper()} ({error}); write PNG instead"
        ) from error
    return buffer.getvalue()


def read_metadata(path: Path) -> dict[str, Any]:
    """The `celebgen` metadata of a PNG, WebP, JPEG or GIF.

    Raises:
        CelebgenError: the file is not a picture that celebgen made.
    """
    try:
        with Image.open(path) as image:
            text = image.info.get("celebgen")
            packet, comment = image.info.get("xmp"), image.info.get("comment") if image.format == "GIF" else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CelebgenError(f"{path} cannot be read as an image: {reason}") from error
    if text is None and isinstance(packet, bytes) and (found := _XMP_VALUE.search(packet)):
        text = html.unescape(found[1].decode("utf-8", "replace"))
    elif text is None and isinstance(comment, bytes):
        text = comment.decode("ascii", "replace")
        if text.startswith(MARK):
            return {"gif": True, "mark": text}
    try:
        metadata = json.loads(text or "")
        if not isinstance(metadata, dict) or (comment is not None and "celebgen" not in metadata):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise CelebgenError(f"{path} has no celebgen metadata; it was not made by `celebgen sample`") from error
    return metadata


def refuse_foreign(option: str, paths: Iterable[Path]) -> None:
    """Make sure that none of the files an option is to write is a picture that celebgen did not make.

    Raises:
        UsageError: one is; it names the option and the file.
    """
    for path in paths:
        if not path.exists():
            continue
        try:
            read_metadata(path)
        except CelebgenError:
            try:
                read_pixels(path)
            except CelebgenError:
                continue  # no picture
            raise UsageError(
                f"{option} would overwrite {path}, which celebgen did not make; give another place"
            ) from None


def read_pixels(path: Path) -> np.ndarray:
    """A picture as uint8 [H, W, 3].

    Raises:
        CelebgenError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CelebgenError(f"{path} cannot be read as an image: {reason}") from error


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
    """The text, cut with an ellipsis where it is wider than `width` pixels, before a seed at its end ("old man #3").

    PIL's built-in font knows Latin-1 only.
    """
    text = text.encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(text) <= width:
        return text
    end = "..."
    before, mark, seed = text.rpartition(" #")
    if mark and draw.textlength(f"...{mark}{seed}") <= width:
        text, end = before, f"...{mark}{seed}"
    while text and draw.textlength(text + end) > width:
        text = text[:-1]
    return text + end


def save_grid(images: np.ndarray, path: Path, columns: int | None = None, labels: Sequence[str] | None = None) -> None:
    """Write a grid of uint8 [N, H, W, 3] as PNG."""
    atomic_write_bytes(path, encode_png(grid(images, columns, labels)))
