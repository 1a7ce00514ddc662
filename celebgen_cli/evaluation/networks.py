"""Networks other than Inception to compare images by: VGG16, CLIP and DINOv2, as torch-fidelity computes them.

A word names one:

    inception             torch-fidelity's InceptionV3 (`celebgen_cli.evaluation.features`)
    vgg16:FILE            torchvision's VGG16 with its classifier, layer fc2_relu: precision and recall of the paper
    clip:FILE             OpenAI's CLIP (its names of tensors), by torch-fidelity's own image tower
    clip:NAME/TAG         any model of open_clip, fetched once; local-dir:PATH; or a run of `celebgen train-clip`
    dinov2:FILE           Meta's DINOv2 ViT-S/B/L/g 14 without registers, which of them the file itself tells
    dinov2:s|b|l|g        the same from Hugging Face, fetched once by timm

torch-fidelity's own loaders unpickle files (VGG16), run TorchScript (CLIP) and download code (DINOv2). Here files are
safetensors, or .pth that are read as tensors only, and networks come from installed packages; what torch-fidelity does
to an image before and after (resize like TensorFlow's to 224, normalisation, layer) is left to its classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celebgen_cli.errors import CelebgenError, UsageError, first_line
from celebgen_cli.evaluation.features import Announce, FeatureExtractor, FidelityFeatures, read_state
from celebgen_cli.models.digest import state_sha256

if TYPE_CHECKING:
    import torch

    from celebgen_cli.evaluation.clips import Clip

KINDS = ("inception", "vgg16:FILE", "clip:FILE|NAME/TAG|local-dir:PATH|RUN", "dinov2:FILE|s|b|l|g")
DINO_SIZES = {384: ("s", "small"), 768: ("b", "base"), 1024: ("l", "large"), 1536: ("g", "giant")}
"""By the width of a token: the letter of Meta's name, and the word of timm's."""

DINO_GRID = 16
"""Patches of 14 pixels along the side of torch-fidelity's 224-pixel images."""


class ClipFeatures:
    """The image embeddings of a CLIP before they are made unit vectors; it prepares images itself, as in training."""

    layer = "image embedding"

    def __init__(self, clip: Clip) -> None:
        self.name, self.dimensions, self.weights_sha256 = clip.name, clip.dimensions, clip.sha256
        self._encode = clip.encode_images

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to float32 [N, D]."""
        import torch

        with torch.inference_mode():
            parts = [self._encode(images[start : start + 16]) for start in range(0, len(images), 16)]
            return np.asarray(torch.cat(parts).float().cpu().numpy())


def load_network(
    word: str, device: str | torch.device = "cpu", *, announce: Announce | None = None
) -> FeatureExtractor:
    """The network that a word names, but Inception.

    Args:
        announce: called with one sentence before anything is fetched.

    Raises:
        UsageError: the word names none.
        CelebgenError: its weights are missing, damaged or of another network.
    """
    kind, _, what = word.partition(":")
    if kind not in ("vgg16", "clip", "dinov2") or not what:
        raise UsageError(f"there are no features '{word}'; name {', '.join(KINDS[1:])}")
    path = Path(what).expanduser()
    if kind == "clip" and not path.is_file():
        from celebgen_cli.evaluation.clips import load_clip

        return ClipFeatures(load_clip(what, str(device)))
    if kind == "dinov2" and what in {letter for letter, _ in DINO_SIZES.values()}:
        return _built(_dinov2, _fetch_dinov2(what, announce), f"dinov2:{what}", device)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: --features names a file of weights, as in {kind}:FILE")
    try:
        state = read_state(path)
    except CelebgenError as error:
        raise CelebgenError(f"{path} cannot be used as weights: {error}") from error
    return _built({"vgg16": _vgg16, "clip": _clip, "dinov2": _dinov2}[kind], state, str(path), device)


def _built(
    build: Callable[[Mapping[str, torch.Tensor]], tuple[torch.nn.Module, str, str, int]],
    state: Mapping[str, torch.Tensor],
    where: str,
    device: str | torch.device,
) -> FidelityFeatures:
    import torch

    try:
        network, name, layer, dimensions = build(state)
    except (KeyError, RuntimeError, IndexError, ValueError) as error:
        reason = first_line(error)
        raise CelebgenError(f"{where} does not hold this network's weights ({reason}); get the right file") from error
    batch_size = 16 if torch.device(device).type == "cpu" else 64
    network = network.eval().requires_grad_(False)
    return FidelityFeatures(network, name, layer, dimensions, state_sha256(state), device, batch_size)


def _vgg16(state: Mapping[str, torch.Tensor]) -> tuple[torch.nn.Module, str, str, int]:
    """torch-fidelity's FeatureExtractorVGG16 up to fc2_relu, with the classifier's last layers cut off as there."""
    import torch
    import torchvision
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    if "classifier.3.weight" not in state:
        raise KeyError("its classifier is missing, and fc2 is part of it")

    class Network(FeatureExtractorVGG16):
        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, "vgg16", ["fc2_relu"])
            self.feature_extractor_internal_dtype = torch.float32
            with torch.device("meta"):
                self.model = torchvision.models.vgg16()
            del self.model.classifier[4:]
            kept = {name: part.float() for name, part in state.items() if not name.startswith("classifier.6.")}
            self.model.load_state_dict(kept, assign=True)

    return Network(), "vgg16", "fc2_relu", int(state["classifier.3.weight"].shape[0])


def _clip(state: Mapping[str, torch.Tensor]) -> tuple[torch.nn.Module, str, str, int]:
    """torch-fidelity's FeatureExtractorCLIP; sizes come from the tensors, weights pass through fp16 as there."""
    import torch
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP, build_model

    if not any(name.startswith("visual.") for name in state):
        raise KeyError("it has no tensors named visual.*, as OpenAI's CLIP has")
    # The text tower under whatever name, which the builder would take for a part of the image tower.
    kept = {name: part for name, part in state.items() if name.startswith("visual.") or name == "text_projection"}

    class Network(FeatureExtractorCLIP):
        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, "clip", ["clip"])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = build_model(dict(kept), torch.float32)
            self.resolution = self.model.visual.input_resolution

    network = Network()
    name = f"clip {network.resolution} px, width {state['visual.conv1.weight'].shape[0]}"
    return network, name, "clip", int(state["text_projection"].shape[1])


def _dinov2(state: Mapping[str, torch.Tensor]) -> tuple[torch.nn.Module, str, str, int]:
    """torch-fidelity's FeatureExtractorDinoV2 around timm's copy of the network, with Meta's positions for 224 px."""
    import timm
    import torch
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    width = int(state["cls_token"].shape[-1])
    if width not in DINO_SIZES:
        raise ValueError(f"a token has {width} numbers, and DINOv2 has {', '.join(map(str, DINO_SIZES))}")
    letter, word = DINO_SIZES[width]

    class Network(FeatureExtractorDinoV2):
        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, f"dinov2-vit-{letter}-14", ["dinov2"])
            self.feature_extractor_internal_dtype = torch.float32
            with torch.device("meta"):
                self.model = timm.create_model(
                    f"vit_{word}_patch14_dinov2", pretrained=False, num_classes=0, img_size=14 * DINO_GRID
                )
            self.model.load_state_dict(_as_timm(state), assign=True)

    return Network(), f"dinov2-vit-{letter}-14", "dinov2", width


def _as_timm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Meta's tensors by timm's names, with positions [1, 1 + 37^2, D] interpolated to 16^2 as Meta's forward pass does.

    That is bicubic without antialiasing, for a grid that is 0.1 wider than asked for (dinov2's `interpolate_offset`).
    """
    import torch
    import torch.nn.functional as F

    out = {name: part.float() for name, part in state.items() if name not in ("mask_token", "pos_embed")}
    for ours, theirs in ((".mlp.fc1.", ".mlp.w12."), (".mlp.fc2.", ".mlp.w3.")):
        out = {name.replace(theirs, ours): part for name, part in out.items()}
    positions = state["pos_embed"].float()
    first, grid = positions[:, :1], positions[:, 1:]
    side = round(grid.shape[1] ** 0.5)
    if side != DINO_GRID:
        square = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        scale = (DINO_GRID + 0.1) / side
        square = F.interpolate(square, scale_factor=(scale, scale), mode="bicubic", antialias=False)
        grid = square.permute(0, 2, 3, 1).flatten(1, 2)
    return {**out, "pos_embed": torch.cat([first, grid], dim=1)}


def _fetch_dinov2(letter: str, announce: Announce | None) -> dict[str, torch.Tensor]:
    import timm

    word = next(word for one, word in DINO_SIZES.values() if one == letter)
    if announce:
        announce(f"fetching DINOv2 ViT-{letter}/14 from Hugging Face where it is not in the cache")
    try:
        network: Any = timm.create_model(f"vit_{word}_patch14_dinov2.lvd142m", pretrained=True, num_classes=0)
    except Exception as error:  # the library lets through errors of its HTTP client, of the hub and of the disk
        reason = first_line(error)
        raise CelebgenError(
            f"DINOv2 could not be fetched ({reason}): get its weights on a machine with internet access and name the "
            "file with --features dinov2:FILE"
        ) from error
    return dict(network.state_dict())
