"""Images out of folders and zips, and every way in which one of them can be bad."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from celebgen_cli.data import sources
from celebgen_cli.data.sources import BadImage, Member, SourceReader, decode_rgb, list_images, locate
from celebgen_cli.errors import CelebgenError, UsageError


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RED = encode(Image.new("RGB", (8, 6), (200, 30, 30)), "PNG")


def test_folder_and_zip_list_the_same_names_and_read_the_same_bytes(tmp_path: Path) -> None:
    names = ["a/b/000002.JPG", "a/000003.webp", "000001.png"]
    noise = ["a/._000001.png", "__MACOSX/a/000001.png", ".hidden/000009.png", "a/readme.txt", "list_attr_celeba.csv"]
    folder = tmp_path / "folder"
    for name in names + noise:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.mkdir("a")
        for name in names + noise:
            archive.writestr(name, name.encode())
    assert list_images(folder) == list_images(tmp_path / "images.zip") == sorted(names)
    with SourceReader([folder, tmp_path / "images.zip"]) as reader:
        for name in names:
            assert reader.read(0, name) == reader.read(1, name) == name.encode()


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere does not exist"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CelebgenError, match="has no image"):
        list_images(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="neither a folder nor a zip"):
        list_images(tmp_path / "notes.txt")
    (tmp_path / "quota.zip").write_text("\n<!DOCTYPE html><html>Quota exceeded</html>")
    with pytest.raises(CelebgenError, match="web page"):
        list_images(tmp_path / "quota.zip")
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("000001.png", RED)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cut.zip").read_bytes()[:-30])
    with pytest.raises(CelebgenError, match="cut off or damaged"):
        list_images(tmp_path / "cut.zip")


def test_unreadable_files_are_bad_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("000001.png", RED)
        archive.writestr("000002.png", b"\0" * 4000)
    data = bytearray(path.read_bytes())
    data[data.index(RED[:20]) + 30] ^= 0xFF  # the archive's CRC no longer fits
    path.write_bytes(bytes(data))
    monkeypatch.setattr(sources, "MAX_BYTES", 3000)
    (tmp_path / "000003.png").write_bytes(b"\0" * 4000)
    with SourceReader([path, tmp_path]) as reader:
        for source, name, reason in (
            (0, "000001.png", "CRC"),
            (0, "000002.png", "more than 3000"),
            (0, "000009.png", "cannot be read"),
            (1, "000003.png", "more than 3000"),
            (1, "000009.png", "cannot be read"),
        ):
            with pytest.raises(BadImage, match=reason):
                reader.read(source, name)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damage_in_other_methods_is_a_bad_image(tmp_path: Path, method: int) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("1.png", np.random.default_rng(0).bytes(5000))
    data = bytearray(path.read_bytes())
    data[60:200] = b"\xff" * 140
    path.write_bytes(bytes(data))
    with SourceReader([path]) as reader, pytest.raises(BadImage, match="cannot be read"):
        reader.read(0, "1.png")


@pytest.mark.parametrize(
    ("place", "value"), [(46, b"\xff\xfe.png"), (6, b"\x49\0")], ids=["name", "version"]
)
def test_lists_of_files_that_nobody_can_read(tmp_path: Path, place: int, value: bytes) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("000001.png", RED)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8 : at + 10] = b"\0\x08"  # names are UTF-8
    data[at + place : at + place + len(value)] = value
    path.write_bytes(bytes(data))
    with pytest.raises(CelebgenError, match=r"^the archive .* is cut off or damaged \(.*\); get it again$"):
        list_images(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_decodes_the_four_formats(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    image = decode_rgb(encode(Image.new("RGB", (16, 12), (200, 30, 30)), kind))
    assert (image.mode, image.size) == ("RGB", (16, 12))
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 30)).max() <= 4


def test_exif_rotation_is_applied() -> None:
    image = Image.new("RGB", (16, 8), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright = np.asarray(decode_rgb(encode(image, "JPEG", exif=exif, quality=95, subsampling=0)))
    assert upright.shape == (16, 8, 3)
    assert upright[2, 4, 0] > 200 and upright[13, 4, 2] > 200


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "LA", "P", "1"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    decoded = decode_rgb(encode(image, "JPEG" if mode == "CMYK" else "PNG"))
    assert decoded.mode == "RGB" and np.asarray(decoded).min() >= 250


def test_transparency_is_laid_on_white() -> None:
    assert (np.asarray(decode_rgb(encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"))) == 255).all()


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + RED[33:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is no image", "not a JPEG"),
        (encode(Image.effect_noise((64, 64), 90), "JPEG")[:-600], "cannot be decoded"),
        (encode(Image.new("RGB", (8, 8)), "GIF"), "not a JPEG"),
        (png_header(30000, 2000), "more than 50000000"),
        (png_header(60000, 60000), "large|more than"),
    ],
)
def test_bad_images_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode_rgb(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_place_in_an_archive_is_read_like_the_name(tmp_path: Path, method: int) -> None:
    files = {"a/1.png": RED, "ü.png": b"", "3.png": bytes(range(256)) * 900}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    places = locate(tmp_path / "a.zip", list(files))
    assert all((place is None) == (method == zipfile.ZIP_BZIP2) for place in places)
    with SourceReader([tmp_path / "a.zip"]) as reader:
        for (name, data), place in zip(files.items(), places, strict=True):
            assert reader.read(0, name, place) == reader.read(0, name) == data
    assert locate(tmp_path, ["x"]) == [None]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"crc": 1}, "CRC"), ({"size": 3}, "CRC"), ({"offset": 9}, "no file where"), ({"offset": 10**9}, "no file where")],
)
def test_an_archive_whose_list_lies(tmp_path: Path, changes: dict[str, int], reason: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", RED)
    place = locate(tmp_path / "a.zip", ["1.png"])[0]
    assert place is not None
    with SourceReader([tmp_path / "a.zip"]) as reader, pytest.raises(BadImage, match=reason):
        reader.read(0, "1.png", Member(**{**place._asdict(), **changes}))


def test_a_bomb_is_unpacked_no_further_than_the_limit(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(10**7))
    place = locate(tmp_path / "a.zip", ["1.png"])[0]
    with SourceReader([tmp_path / "a.zip"]) as reader, pytest.raises(BadImage, match="more than 5000 bytes"):
        reader.read(0, "1.png", place, limit=5000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with SourceReader([tmp_path]) as reader, pytest.raises(BadImage, match="no file"):
        reader.read(0, "1.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_flipped_bytes_are_decoded_or_refused(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.effect_noise((24, 20), 60).convert("RGB"), kind, exif=exif)
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] = rng.integers(256)
        try:
            image = decode_rgb(bytes(broken))
        except BadImage as error:
            assert "\n" not in str(error)
        else:
            assert image.mode == "RGB"


def test_linked_folders_are_read_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "own" / "deep").mkdir(parents=True)
    (tmp_path / "other" / "deep").mkdir(parents=True)
    for name in ("own/1.png", "own/deep/2.png", "other/3.png", "other/deep/4.png"):
        (tmp_path / name).write_bytes(RED)
    (tmp_path / "own" / "link").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "own" / "deep" / "up").symlink_to(tmp_path / "own", target_is_directory=True)
    (tmp_path / "other" / "back").symlink_to(tmp_path / "own", target_is_directory=True)
    (tmp_path / "own" / "itself.png").symlink_to(tmp_path / "own" / "itself.png")
    assert list_images(tmp_path / "own") == ["1.png", "deep/2.png", "itself.png", "link/3.png", "link/deep/4.png"]
    with SourceReader([tmp_path / "own"]) as reader:
        assert reader.read(0, "link/deep/4.png") == RED
        with pytest.raises(BadImage, match="cannot be read"):
            reader.read(0, "itself.png")


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "1.png").write_bytes(RED)
    scan = os.scandir

    def refused(path: str) -> object:
        if os.path.basename(path) == "closed":  # not by its permissions, which root may pass over
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(sources.os, "scandir", refused)
    with pytest.raises(CelebgenError, match=r"closed cannot be read: Permission denied; make it readable"):
        list_images(tmp_path)


def test_a_colour_that_stands_for_transparency_is_white() -> None:
    image = Image.new("RGB", (4, 4), (200, 0, 0))
    image.putpixel((1, 2), (0, 9, 0))
    found = decode_rgb(encode(image, "PNG", transparency=(200, 0, 0)))
    assert found.mode == "RGB"
    assert (found.getpixel((0, 0)), found.getpixel((1, 2))) == ((255, 255, 255), (0, 9, 0))
