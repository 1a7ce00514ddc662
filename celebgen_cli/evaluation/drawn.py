"""Images that a model draws to be measured: one for each caption of the reference, and the same ones every time."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import celebgen_cli
from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.errors import UsageError
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.images import read_pixels, refuse_foreign
from celebgen_cli.sampling.jobs import Job, metadata_of, resolve
from celebgen_cli.sampling.outputs import encoded, made_as


class NamedModel(Protocol):
    """What a figure says of a `celebgen_cli.pipeline.Model`."""

    @property
    def size(self) -> int:
        """Pixels of an image's side."""

    @property
    def crop(self) -> str:
        """Name of the crop that it was trained on, or "unknown"."""

    @property
    def name(self) -> str:
        """How figures call it."""

    @property
    def sha256(self) -> str:
        """Digest of its weights."""


class TextToImage(NamedModel, Protocol):
    """The part of `celebgen_cli.pipeline.Model` that sampling for a metric needs."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Settings of `sample` that suit it."""

    @property
    def precision(self) -> str:
        """The precision that it draws in."""

    @property
    def sample(self) -> Callable[..., np.ndarray]:
        """`sample(prompts, seeds, **settings)`: uint8 [N, H, W, 3], one image a prompt and seed.

        Not typed further: an implementation names the settings that it takes.
        """


class ModelImages:
    """Images that a model draws for captions made from attribute rows, or from the captions that people gave.

    Image i has the caption of row i (rows are used again from the first where there are fewer), worded with the seed
    (seed, i), and is drawn with image seed `seed + i`: the same N images at any batch size, but for rounding
    (docs/decisions.md).

    Args:
        model: draws them.
        rows: int8 [N, 40] in -1 / 1, which captions are made from, or these and stored captions; no copy is kept.
        count: number of images.
        seed: the first seed.
        settings: what `model.sample` takes (steps, sampler, guidance, ...); None values are the model's defaults.
        save: folder that receives every image as PNG that says how it was made, and the prompts as `prompts.txt`. An
            image that is there already and was made in the same way is read, not drawn again.

    Raises:
        UsageError: captions cannot be made, a setting is out of the model's range, or `save` has a picture of one of
            these names that celebgen did not make.
    """

    kind = "model"
    filter: str | None = None
    lossy = False
    attributes: np.ndarray | None = None
    captions: CaptionSource | None = None

    def __init__(
        self,
        model: TextToImage,
        rows: np.ndarray | CaptionSource,
        count: int,
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        save: Path | None = None,
    ) -> None:
        self.model = model
        self.label = model.name
        self.size: int | None = model.size
        self.crop: str | None = None if model.crop == "unknown" else model.crop
        self.seed = seed
        self.prompts = captions_for(rows, count, seed)
        self._settings = {name: value for name, value in (settings or {}).items() if value is not None}
        self._resolved = resolve(model, Job(0, "", seed, self._settings))
        self._save = save
        if save is not None:
            refuse_foreign("--save", (save / f"{i:06d}.png" for i in range(count)))
            listed = save / "prompts.txt"
            if listed.exists() and not (save / "000000.png").exists() and listed.read_bytes() != self._listed():
                raise UsageError(f"--save would overwrite {listed}, which lists other prompts; give another folder")

    def __len__(self) -> int:
        return len(self.prompts)

    def batches(self, count: int, batch_size: int, start: int = 0) -> Iterator[np.ndarray]:
        if self._save is not None:
            atomic_write_bytes(self._save / "prompts.txt", self._listed())
        for first in range(start, count, batch_size):
            yield self._drawn(first, min(first + batch_size, count))

    def _listed(self) -> bytes:
        return "".join(f"{prompt}\n" for prompt in self.prompts).encode("utf-8")

    def save_all(self, count: int, batch_size: int) -> None:
        """Draw what is not in the folder yet because its features were in the cache."""
        if self._save is not None:
            for _ in self.batches(count, batch_size):
                pass

    def _drawn(self, first: int, stop: int) -> np.ndarray:
        """The images `first` to `stop` - 1, and files of them where they are to be saved."""
        found: dict[int, np.ndarray] = {}
        if self._save is not None:
            metadata = [self._metadata(i) for i in range(first, stop)]
            paths = [self._save / f"{i:06d}.png" for i in range(first, stop)]
            found = {i: read_pixels(paths[i]) for i in range(len(paths)) if made_as(paths[i], metadata[i])}
        rest = [i for i in range(stop - first) if i not in found]
        if rest:
            prompts = [self.prompts[first + i] for i in rest]
            seeds = [self.seed + first + i for i in rest]
            drawn = self.model.sample(prompts, seeds, batch_size=len(rest), **self._settings)
            for i, pixels in zip(rest, drawn, strict=True):
                found[i] = pixels
                if self._save is not None:
                    atomic_write_bytes(paths[i], encoded(pixels, "png", metadata[i]))
        return np.stack([found[i] for i in range(stop - first)])

    def _metadata(self, i: int) -> dict[str, Any]:
        return metadata_of(self.model, Job(i, self.prompts[i], self.seed + i), self._resolved)

    def fingerprint(self) -> str | None:
        return self.part_fingerprint(0, len(self))

    def part_fingerprint(self, start: int, stop: int) -> str:
        """Of the model, the settings in force, prompts and seeds, and of the very code that draws."""
        jobs = [self._resolved, self.seed + start, self.prompts[start:stop]]
        return hashlib.sha256(json.dumps([*made_by(self.model), *jobs], sort_keys=True).encode("utf-8")).hexdigest()

    def settings(self) -> dict[str, Any]:
        """The settings in force: what the caller asked for over the model's own defaults."""
        used = {**self.model.defaults, **self._settings, "precision": self.model.precision, "seed": self.seed}
        return {**used, "model_sha256": self.model.sha256}


def made_by(model: NamedModel, *more: str) -> list[str]:
    """What decides what a model makes of its inputs: code (see `drawing_code`), torch, device, precision, networks."""
    device = getattr(getattr(model, "device", None), "type", "cpu")
    precision = str(getattr(model, "precision", ""))
    sizes = json.dumps(getattr(model, "description", {}), sort_keys=True)
    return [drawing_code(*more), package_version("torch"), device, precision, model.sha256, sizes]


def conditions(device: str | None) -> list[str]:
    """What decides a measurement besides model and settings: code that draws and measures, torch, device, precision.

    device: as the options name it.
    """
    from celebgen_cli.models.devices import choose_device, resolve_precision

    where = choose_device(device)
    code = drawing_code("data/captions", "evaluation")
    return [code, package_version("torch"), where.type, resolve_precision(where, "auto")]


@functools.cache
def drawing_code(*more: str) -> str:
    """SHA-256 of the modules that decide what a model draws, so that no figure is of what an earlier program drew.

    more: rooms of the package that have a say besides.
    """
    package = Path(celebgen_cli.__file__).parent
    files = [package / name for name in ("drawing.py", "pipeline.py", "settings.py")]
    rooms = [package / room for room in ("diffusion", "models", *more)]
    files += [path for room in rooms for ending in ("*.py", "*.toml") for path in room.rglob(ending)]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def captions_for(rows: np.ndarray | CaptionSource, count: int, seed: int) -> list[str]:
    """`count` captions, the i-th true of row i modulo N and worded with the random state (seed, i).

    Args:
        rows: int8 [N, 40] in -1 / 1, or these and stored captions, which rows of unknown attributes take.

    Raises:
        UsageError: there is no row, or nothing is known of any.
    """
    source = rows if isinstance(rows, CaptionSource) else CaptionSource(rows)
    if not source.speaks:
        raise UsageError("captions need at least one row of attributes or captions and the reference has none")
    return source.draw_for(count, seed)
