"""Faces that were asked for: drawn by a model for prompts, or a folder of pictures that say their prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from celebgen_cli.data.captions import attributes_known, read_typed
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.asking import Asked, ask
from celebgen_cli.evaluation.drawn import ModelImages, TextToImage
from celebgen_cli.evaluation.options import Options
from celebgen_cli.evaluation.pictures import MADE_HERE, pick
from celebgen_cli.evaluation.sources import ImageFiles, ImageSource, SplitImages, kind_of
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.images import encode_png, grid, read_metadata
from celebgen_cli.models.registry import find


class AskedImages(ModelImages):
    """Like `ModelImages`, for prompts that are given."""

    def __init__(self, model: TextToImage, asked: Sequence[Asked], options: Options) -> None:
        row = np.full((1, 40), -1, dtype=np.int8)  # any; its captions are replaced
        super().__init__(model, row, 1, seed=options.seed, settings=options.sampling, save=options.save)
        self.prompts = [one.prompt for one in asked]


def open_asked(
    generated: str | None, reference: SplitImages, options: Options, default: int
) -> tuple[ImageSource, list[Asked]]:
    """The faces that a word names, and what each was made for.

    Args:
        default: faces that a model draws where the options do not say how many.

    Raises:
        UsageError: the word names neither a model nor a folder.
        CelebgenError: a picture in the folder does not say its prompt, or fewer are there than asked for.
    """
    word = None if generated is None else str(find(generated, strict=False))
    kind = "model" if word is None else kind_of(word)
    if kind == "model":
        attributes = reference.split.attributes
        rows = np.flatnonzero(attributes_known(attributes)).tolist()
        asked = ask(attributes, rows, options.num or default, options.seed)
        return AskedImages(compare.load_pipeline(word, options.device), asked, options), asked
    if kind != "folder" or word is None:
        raise UsageError(f"{generated} is a {kind}: name a model, or a folder of pictures that celebgen made")
    source = ImageFiles(Path(word))
    if options.num is not None and options.num > len(source):
        raise CelebgenError(f"{word} has {len(source)} pictures and {options.num} were asked for; ask for fewer")
    units: dict[tuple[str, str], int] = {}
    return source, [_told(Path(word), name, units) for name in source.names[: options.num]]


def _told(folder: Path, name: str, units: dict[tuple[str, str], int]) -> Asked:
    """What a picture was made for, as `sample` reads it; pictures of one prompt are of one unit."""
    metadata = read_metadata(folder / name)
    prompt, negative = metadata.get("prompt"), metadata.get("negative") or ""
    if not isinstance(prompt, str) or not isinstance(negative, str):
        raise CelebgenError(f"{folder / name} does not say its prompt; judge pictures of `celebgen sample`")
    named, away = read_typed(prompt), read_typed(negative)
    named = np.where((named == 0) & (away > 0), -1, named).astype(np.int8)
    return Asked(prompt, named, "own", 0, -1, False, units.setdefault((prompt, negative), len(units)))


def save_worst(folder: Path, source: ImageSource, asked: Sequence[Asked], order: Sequence[int]) -> list[str]:
    """Write the images `order` of a source as PNG, each with its prompt, and a sheet of them; paths without the sheet.

    Raises:
        CelebgenError: the folder cannot be written.
    """
    images, paths = pick(source, order), []
    for place, (i, pixels) in enumerate(zip(order, images, strict=True), 1):
        words = "-".join(re.findall(r"[a-z0-9]+", asked[i].prompt.lower()))[:60].strip("-")
        paths.append(folder / f"{place:02d}-{words or 'prompt'}.png")
        atomic_write_bytes(paths[-1], encode_png(pixels, asked[i].prompt, MADE_HERE))
    labels = [f"{place} {asked[i].prompt}" for place, i in enumerate(order, 1)]
    atomic_write_bytes(folder / "worst.png", encode_png(grid(images, labels=labels), "\n".join(labels), MADE_HERE))
    return [str(path) for path in paths]
