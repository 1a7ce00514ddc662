"""A CLIP that scores faces against texts: any that open_clip knows, or the compact one of a `train-clip` run.

The word that names one: `NAME/TAG` of `open_clip.list_pretrained()`, `local-dir:PATH` or a run. A model folder has the
text tower alone, so it names none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celebgen_cli.errors import CelebgenError, UsageError, first_line
from celebgen_cli.models import folder as model_folder
from celebgen_cli.models.digest import state_sha256

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from celebgen_cli.pipeline import Model

CLIP_VARIABLE = "CELEBGEN_CLIP"
OFFER = (
    "name one with --clip: NAME/TAG of open_clip (fetched once), local-dir:PATH, or a run of `celebgen train-clip "
    f"DATASET -o RUN --seed 1`; ${CLIP_VARIABLE} is the default"
)
BATCH = 64


@dataclass(frozen=True)
class Clip:
    """Unit vectors of images and of texts in one space.

    Attributes:
        name: how figures call it. sha256: of its weights. dimensions: of the space.
        encode_images: uint8 [N, H, W, 3] to vectors [N, D]. encode_texts: N texts to vectors [N, D].
        text_tower: tensors by open_clip's names, to tell whether two text towers are the same.
    """

    name: str
    sha256: str
    dimensions: int
    encode_images: Callable[[np.ndarray], Tensor]
    encode_texts: Callable[[Sequence[str]], Tensor]
    text_tower: Mapping[str, Tensor]
    layer: str = "image"

    @property
    def weights_sha256(self) -> str:
        """The same digest, as a `FeatureExtractor` calls it."""
        return self.sha256

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Image vectors of length 1: uint8 [N, H, W, 3] to float32 [N, D]."""
        return _unit([self.encode_images(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])

    def texts(self, prompts: Sequence[str]) -> np.ndarray:
        """Text vectors of length 1: N texts to float32 [N, D]."""
        return _unit([self.encode_texts(prompts[i : i + BATCH]) for i in range(0, len(prompts), BATCH)])


def load_clip(word: str, device: str | torch.device | None = None) -> Clip:
    """The CLIP that a word names.

    Raises:
        UsageError: it names none, or a model, whose CLIP has no image tower.
        CelebgenError: it cannot be loaded.
    """
    import torch

    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = Path(word).expanduser()
    if model_folder.is_model(path):
        raise UsageError(f"{word} is a model, and the text encoder in a model has no image tower: {OFFER}")
    if (path / "config.json").is_file():
        return _of_run(path, where)
    name = word.removeprefix("open_clip:")
    if name.startswith("local-dir:"):
        return _of_open_clip("local-dir:" + str(Path(name.removeprefix("local-dir:")).expanduser()), None, where)
    model, slash, tag = name.partition("/")
    if path.exists() or not slash or not tag:
        raise UsageError(f"{word} names no CLIP: {OFFER}")
    return _of_open_clip(model, tag, where)


def find_clip(model: Model | None, word: str | None = None, device: str | None = None) -> Clip:
    """The CLIP that a word names, else `$CELEBGEN_CLIP`, else one that open_clip fetched earlier: none is downloaded.

    Of those that were fetched earlier, one that does not condition `model` is taken where there is one.

    Raises:
        UsageError: none is at hand, or the word names none.
        CelebgenError: it cannot be loaded.
    """
    named = word or os.environ.get(CLIP_VARIABLE)
    if named:
        return load_clip(named, device)
    own = getattr(getattr(model, "text", None), "source", None)
    at_hand = fetched()
    for name in (*(name for name in at_hand if name != own), *(name for name in at_hand if name == own)):
        return load_clip(name, device)
    raise UsageError(f"no CLIP is at hand to score with, for the model's own text encoder has no image tower: {OFFER}")


def fetched() -> list[str]:
    """The `NAME/TAG` of each open_clip model whose weights huggingface_hub has in its cache; the largest come last."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return []
    found = []
    for name, tag in open_clip.list_pretrained():
        repository = str((get_pretrained_cfg(name, tag) or {}).get("hf_hub", "")).rstrip("/")
        files = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        places = [try_to_load_from_cache(repository, file) for file in files] if repository.count("/") == 1 else []
        sizes = [os.path.getsize(place) for place in places if isinstance(place, str)]
        if sizes:
            found.append((sizes[0], f"{name}/{tag}"))
    return [name for _, name in sorted(found)]


def conditions(clip: Clip, model: Any) -> bool:
    """Whether the text tower of this CLIP is the one that conditions the model, up to the rounding of 8-bit weights."""
    import torch

    text = getattr(model, "text", None)
    if text is None:
        return False
    own = {**text.state_dict()}
    own = {name.removeprefix("text.").replace("blocks.", "transformer.resblocks."): part for name, part in own.items()}
    compared = [name for name in own if name.endswith("mlp.c_fc.weight")]
    if not compared:
        return False
    for name in compared:
        mine, other = own[name].float().cpu().flatten(), clip.text_tower.get(name)
        if other is None or other.numel() != mine.numel():
            return False
        if torch.nn.functional.cosine_similarity(mine, other.float().cpu().flatten(), dim=0) < 0.99:
            return False
    return True


def _of_run(path: Path, device: torch.device) -> Clip:
    import torch
    import torch.nn.functional as F

    from celebgen_cli.models.cvae import to_float
    from celebgen_cli.models.presets import CLIPConfig
    from celebgen_cli.models.sizes import sizes_from
    from celebgen_cli.training.clip import CompactCLIP, compact_text
    from celebgen_cli.training.runs import averaged_weights, read_config

    config = read_config(path)
    if config["kind"] != "clip":
        raise UsageError(f"{path} is a run of kind '{config['kind']}' and has no CLIP: {OFFER}")
    sizes, (step, state) = sizes_from(CLIPConfig, config["clip"]), averaged_weights(path)
    network = CompactCLIP(sizes)
    network.load_state_dict(state)
    network.eval().requires_grad_(False).to(device)
    # The text tower as it ships: words that training never met share one row of the table.
    text = compact_text(network, sizes, config["token_ids"]).requires_grad_(False).to(device)

    def images(pixels: np.ndarray) -> Tensor:
        batch = to_float(torch.from_numpy(np.array(pixels, order="C")).to(device))
        return network.clip.encode_image(F.interpolate(batch, size=(sizes.image_size,) * 2, mode="area"))

    def texts(prompts: Sequence[str]) -> Tensor:
        return text(list(prompts)).pooled

    tower = {name.removeprefix("clip.text."): part for name, part in state.items() if name.startswith("clip.text.")}
    name = f"compact CLIP {path.resolve().name}, step {step}"
    return Clip(name, state_sha256(state), sizes.embed_dim, images, texts, tower)


def _of_open_clip(name: str, tag: str | None, device: torch.device) -> Clip:
    import torch

    try:
        import open_clip

        network, _, prepare = open_clip.create_model_and_transforms(
            name, pretrained=tag, device=device, force_custom_text=True, weights_only=True
        )
        tokenize = open_clip.get_tokenizer(name)
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        reason = first_line(error)
        word = f"{name}/{tag}" if tag else name
        raise CelebgenError(f"open_clip cannot load {word} ({reason}): {OFFER}") from error
    network.eval().requires_grad_(False)

    def images(pixels: np.ndarray) -> Tensor:
        from PIL import Image

        return network.encode_image(torch.stack([prepare(Image.fromarray(image)) for image in pixels]).to(device))

    def texts(prompts: Sequence[str]) -> Tensor:
        return network.encode_text(tokenize(list(prompts)).to(device))

    state = network.state_dict()
    tower = {key.removeprefix("text."): part for key, part in state.items() if key.startswith("text.")}
    shown = f"{name}/{tag}" if tag else "local-dir:" + Path(name.removeprefix("local-dir:")).resolve().name
    with torch.inference_mode():
        dimensions = int(texts(["a face"]).shape[1])
    return Clip(f"open_clip {shown}", state_sha256(state), dimensions, images, texts, tower)


def _unit(parts: Sequence[Tensor]) -> np.ndarray:
    import torch

    vectors = torch.cat([part.float() for part in parts])
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy())
