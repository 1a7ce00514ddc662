"""Drawn faces with known attributes, in CelebA's layout and geometry: what the tests use in place of CelebA.

Every attribute in `DRAWN` changes pixels that a small network, or a person, can see; the others are labels only.
"""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX

ALIGNED = (178, 218)
HAIR = {
    "Black_Hair": (25, 22, 20),
    "Blond_Hair": (225, 190, 105),
    "Brown_Hair": (105, 66, 38),
    "Gray_Hair": (165, 165, 165),
}
DRAWN = (
    *HAIR, "Bald", "Bangs", "Bushy_Eyebrows", "Eyeglasses", "Goatee", "Male", "Mouth_Slightly_Open", "Mustache",
    "No_Beard", "Pale_Skin", "Rosy_Cheeks", "Smiling", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip

Colour = tuple[int, int, int]


def random_attributes(rng: np.random.Generator) -> np.ndarray:
    """Attributes of an imagined person, int8 [40] in -1/1: about as frequent as CelebA's, never contradictory."""
    male = bool(rng.random() < 0.42)
    young = bool(rng.random() < 0.75)
    smiling = bool(rng.random() < 0.48)
    true: set[str] = {name for name, says in (("Male", male), ("Young", young), ("Smiling", smiling)) if says}

    def maybe(name: str, chance: float) -> bool:
        if rng.random() < chance:
            true.add(name)
        return name in true

    if not maybe("Bald", 0.08 if male else 0.0):
        weights = [0.3, 0.2, 0.3, 0.2 if not young else 0.02]
        true.add(list(HAIR)[int(rng.choice(4, p=np.array(weights) / sum(weights)))])
        maybe("Bangs", 0.05 if male else 0.25)
        maybe("Receding_Hairline", 0.15 if male and not young else 0.02)
        true.add("Wavy_Hair" if rng.random() < (0.15 if male else 0.5) else "Straight_Hair")
    beard = male and rng.random() < 0.35
    if beard:
        maybe("Goatee", 0.4)
        maybe("Mustache", 0.4)
        maybe("Sideburns", 0.3)
        maybe("5_o_Clock_Shadow", 0.2)
    else:
        true.add("No_Beard")
    for name, chance in (
        ("Eyeglasses", 0.12), ("Wearing_Hat", 0.1), ("Pale_Skin", 0.15), ("Bushy_Eyebrows", 0.2), ("Big_Nose", 0.2),
        ("Big_Lips", 0.2), ("High_Cheekbones", 0.8 if smiling else 0.1), ("Oval_Face", 0.3), ("Pointy_Nose", 0.3),
        ("Mouth_Slightly_Open", 0.7 if smiling else 0.2), ("Attractive", 0.6 if young else 0.2),
        ("Narrow_Eyes", 0.1), ("Chubby", 0.05), ("Double_Chin", 0.05), ("Bags_Under_Eyes", 0.2), ("Blurry", 0.03),
    ):  # fmt: skip
        maybe(name, chance)
    if male:
        maybe("Wearing_Necktie", 0.15)
    else:
        for name, chance in (
            ("Wearing_Lipstick", 0.7), ("Heavy_Makeup", 0.6), ("Arched_Eyebrows", 0.4), ("Rosy_Cheeks", 0.15),
            ("Wearing_Earrings", 0.3), ("Wearing_Necklace", 0.2),
        ):  # fmt: skip
            maybe(name, chance)
    return np.array([1 if name in true else -1 for name in ATTRIBUTES], dtype=np.int8)


def draw_face(
    rng: np.random.Generator, attributes: np.ndarray | None = None, size: tuple[int, int] = ALIGNED
) -> tuple[Image.Image, np.ndarray]:
    """Draw a face with these attributes (random ones if None): RGB image and the attributes, int8 [40] in -1/1.

    Background, skin tone, and the exact place and size of each feature are random too.
    """
    attributes = random_attributes(rng) if attributes is None else np.where(np.asarray(attributes) > 0, 1, -1)
    attributes = attributes.astype(np.int8)

    def has(name: str) -> bool:
        return bool(attributes[INDEX[name]] > 0)

    image = _background(tuple(int(x) for x in rng.integers(60, 230, 6))).copy()
    draw = ImageDraw.Draw(image)
    cx, cy = 89 + int(rng.integers(-3, 4)), 122 + int(rng.integers(-3, 4))
    half, tall = 40 + int(rng.integers(-3, 4)) + 5 * has("Chubby"), 55 + int(rng.integers(-3, 4))
    skin = _shade((245, 222, 208) if has("Pale_Skin") else (212, 160, 125), int(rng.integers(-18, 10)))
    hair = _shade(next((colour for name, colour in HAIR.items() if has(name)), (165, 60, 30)), int(rng.integers(-8, 9)))
    cloth: Colour = (40, 45, 90) if has("Male") else (150, 40, 70)

    if not has("Bald") and not has("Male"):  # long hair falls behind the neck
        draw.rounded_rectangle((cx - half - 15, cy - 40, cx + half + 15, cy + 85), 24, fill=hair)
        if has("Wavy_Hair"):
            for y in range(cy - 20, cy + 85, 18):
                for side in (-1, 1):
                    x = cx + side * (half + 15)
                    draw.ellipse((x - 9, y - 10, x + 9, y + 10), fill=hair)
    draw.ellipse((cx - 75, cy + 68, cx + 75, cy + 170), fill=cloth)
    draw.rectangle((cx - 17, cy + 35, cx + 17, cy + 80), fill=_shade(skin, -18))
    if has("Wearing_Necktie"):
        draw.polygon([(cx - 16, cy + 70), (cx + 16, cy + 70), (cx, cy + 82)], fill=(245, 245, 245))
        draw.polygon([(cx - 6, cy + 76), (cx + 6, cy + 76), (cx + 8, cy + 110), (cx - 8, cy + 110)], fill=(170, 20, 25))
    if has("Wearing_Necklace"):
        draw.arc((cx - 24, cy + 48, cx + 24, cy + 82), 10, 170, fill=(240, 205, 60), width=3)

    if not has("Bald"):  # the hair on top; the face then covers its lower part
        draw.ellipse((cx - half - 8, cy - tall - 16, cx + half + 8, cy + 18), fill=hair)
    draw.ellipse((cx - half, cy - tall + 2, cx + half, cy + tall), fill=skin)
    if has("Bangs") and not has("Bald"):
        draw.chord((cx - half, cy - tall + 1, cx + half, cy - 2), 180, 360, fill=hair)
    if has("Rosy_Cheeks"):
        for side in (-1, 1):
            x = cx + side * 24
            draw.ellipse((x - 9, cy + 8, x + 9, cy + 22), fill=(228, 120, 118))

    _draw_beard(draw, attributes, cx, cy, half, tall, _shade(hair, -12))
    eye: Colour = ((60, 90, 150), (70, 45, 25), (60, 100, 60))[int(rng.integers(3))]
    for side in (-1, 1):
        x, y = cx + side * 19, cy - 11
        brow = 4 if has("Bushy_Eyebrows") else 2
        draw.line((x - 10, y - 10, x + 10, y - 11), fill=_shade(hair, -25), width=brow)
        draw.ellipse((x - 8, y - 4, x + 8, y + 5), fill=(250, 250, 250))
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=eye)
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(10, 10, 10))
        if not has("Young"):  # lines below the eye and beside the mouth
            draw.arc((x - 10, y, x + 10, y + 13), 20, 160, fill=_shade(skin, -60), width=2)
            draw.line((cx + side * 14, cy + 12, cx + side * 21, cy + 26), fill=_shade(skin, -60), width=2)
        if has("Wearing_Earrings"):
            x = cx + side * (half + 1)
            draw.ellipse((x - 4, cy + 10, x + 4, cy + 20), fill=(245, 215, 70))
    if not has("Young"):
        for y in (cy - 34, cy - 28):
            draw.line((cx - 18, y, cx + 18, y), fill=_shade(skin, -50), width=1)
    nose = 9 if has("Big_Nose") else 6
    draw.polygon([(cx, cy - 8), (cx - nose, cy + 13), (cx + nose, cy + 13)], fill=_shade(skin, -28))
    _draw_mouth(draw, attributes, cx, cy + 29)
    if has("Eyeglasses"):
        for side in (-1, 1):
            x, y = cx + side * 19, cy - 11
            draw.rectangle((x - 15, y - 11, x + 15, y + 11), outline=(15, 15, 15), width=4)
        draw.line((cx - 4, cy - 12, cx + 4, cy - 12), fill=(15, 15, 15), width=4)
    if has("Wearing_Hat"):
        colour: Colour = ((180, 30, 30), (30, 70, 170), (30, 110, 60))[int(rng.integers(3))]
        draw.pieslice((cx - half - 10, cy - tall - 38, cx + half + 10, cy + 12), 180, 360, fill=colour)
        draw.rounded_rectangle((cx - half - 24, cy - 36, cx + half + 24, cy - 25), 5, fill=_shade(colour, -30))
    if has("Blurry"):
        image = image.filter(ImageFilter.BoxBlur(2))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image, attributes


def write_celeba(
    folder: Path, n: int, seed: int = 0, *, as_zip: bool = False, dialect: str = "txt", suffix: str = ".jpg"
) -> Path:
    """Write `n` drawn faces and their annotation files into `folder`, as CelebA's own archive or Kaggle's has them.

    The first 70 % of the numbers are *train*, the next 20 % *valid*, the rest *test* (from n = 3 on, each has one at
    least). Dialect "txt" also writes identities, two images a person.

    Returns:
        The source for `prepare`: `folder/img_align_celeba`, or `folder/img_align_celeba.zip`. The annotations lie in
        `folder` itself.
    """
    assert dialect in ("txt", "csv") and n >= 1
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names, table = [], []
    files: list[tuple[str, bytes]] = []
    for number in range(1, n + 1):
        image, attributes = draw_face(rng)
        buffer = io.BytesIO()
        image.save(buffer, format={".jpg": "JPEG"}.get(suffix, suffix[1:].upper()), quality=92)
        names.append(f"{number:06d}.jpg")  # annotation files always say .jpg
        table.append(attributes)
        files.append((f"img_align_celeba/{number:06d}{suffix}", buffer.getvalue()))
    if as_zip:
        source = folder / "img_align_celeba.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in files:
                archive.writestr(name, data)
    else:
        source = folder / "img_align_celeba"
        source.mkdir()
        for name, data in files:
            (folder / name).write_bytes(data)

    write_attributes(folder / f"list_attr_celeba.{dialect}", names, np.stack(table), dialect)
    test = max(1, n // 10) if n >= 3 else 0
    valid = max(1, n // 5) if n >= 3 else 0
    codes = [0] * (n - valid - test) + [1] * valid + [2] * test
    if dialect == "csv":
        lines = ["image_id,partition", *(f"{name},{code}" for name, code in zip(names, codes, strict=True))]
        _write(folder / "list_eval_partition.csv", lines)
    else:
        _write(folder / "list_eval_partition.txt", [f"{name} {code}" for name, code in zip(names, codes, strict=True)])
        _write(folder / "identity_CelebA.txt", [f"{name} {1 + i // 2}" for i, name in enumerate(names)])
    return source


def write_attributes(path: Path, names: list[str], table: np.ndarray, dialect: str = "txt") -> None:
    """Write `list_attr_celeba` for values [N, 40] in -1/1, in the official layout ("txt") or Kaggle's ("csv")."""
    if dialect == "csv":
        rows = [",".join((name, *map(str, row))) for name, row in zip(names, table.tolist(), strict=True)]
        _write(path, [",".join(("image_id", *ATTRIBUTES)), *rows])
    else:  # official: positive values have one more space before them
        rows = [name + "".join(f"{value:3d}" for value in row) for name, row in zip(names, table.tolist(), strict=True)]
        _write(path, [str(len(names)), " ".join(ATTRIBUTES), *rows], end="\r\n")


def prepared_faces(folder: Path, n: int = 40, seed: int = 0, *, size: int = 64) -> Path:
    """Draw `n` faces and prepare them in this process; returns the prepared dataset, `folder/dataset`."""
    from celebgen_cli.data.prepare import prepare

    source = write_celeba(folder / "celeba", n, seed)
    return prepare([source], folder / "dataset", annotations=folder / "celeba", size=size, workers=1).path


def _write(path: Path, lines: list[str], end: str = "\n") -> None:
    path.write_bytes((end.join(lines) + end).encode("ascii"))


def _shade(colour: Colour, by: int) -> Colour:
    red, green, blue = (max(0, min(255, value + by)) for value in colour)
    return red, green, blue


@functools.lru_cache(maxsize=8)
def _ramp() -> np.ndarray:
    return np.linspace(0, 1, ALIGNED[1], dtype=np.float32)[:, None, None]


def _background(ends: tuple[int, ...]) -> Image.Image:
    """A vertical blend of two colours."""
    top, bottom = np.array(ends[:3], dtype=np.float32), np.array(ends[3:], dtype=np.float32)
    column = (top + (bottom - top) * _ramp()).astype(np.uint8)
    return Image.fromarray(np.repeat(column, ALIGNED[0], axis=1))


def _draw_beard(
    draw: ImageDraw.ImageDraw, attributes: np.ndarray, cx: int, cy: int, half: int, tall: int, colour: Colour
) -> None:
    def has(name: str) -> bool:
        return bool(attributes[INDEX[name]] > 0)

    if has("Goatee"):
        draw.ellipse((cx - 13, cy + 34, cx + 13, cy + tall + 3), fill=colour)
    elif not has("No_Beard") and not has("Mustache"):
        draw.chord((cx - half, cy - tall + 2, cx + half, cy + tall + 2), 18, 162, fill=colour)
    if has("Mustache") and not has("No_Beard"):
        draw.rounded_rectangle((cx - 20, cy + 15, cx + 20, cy + 23), 4, fill=colour)


def _draw_mouth(draw: ImageDraw.ImageDraw, attributes: np.ndarray, x: int, y: int) -> None:
    def has(name: str) -> bool:
        return bool(attributes[INDEX[name]] > 0)

    lips: Colour = (190, 20, 50) if has("Wearing_Lipstick") else (150, 80, 75)
    if has("Smiling"):
        if has("Mouth_Slightly_Open"):
            draw.chord((x - 19, y - 14, x + 19, y + 11), 0, 180, fill=(252, 252, 252), outline=lips, width=3)
        else:
            draw.arc((x - 19, y - 16, x + 19, y + 8), 5, 175, fill=lips, width=4)
    elif has("Mouth_Slightly_Open"):
        draw.ellipse((x - 11, y - 6, x + 11, y + 7), fill=(60, 15, 20), outline=lips, width=3)
    else:
        draw.line((x - 14, y, x + 14, y), fill=lips, width=4)
