"""Inception features as torch-fidelity computes them, from weights that are loaded without running a pickle.

FID (Heusel et al. 2017, arXiv 1706.08500) and KID (Binkowski et al. 2018, arXiv 1801.01401) compare sets of images by
the 2,048 activations after the last pooling of the InceptionV3 that was released with TensorFlow on 2015-12-05. The
network and its TensorFlow-like resize are torch-fidelity's own; only the way in is different: torch-fidelity 0.4 reads
its weights and its caches with the unrestricted pickle loader, this module with `weights_only=True` and safetensors.

Batch normalisation is folded into the convolutions in float64, tensors are channels-last and batches small: 1.8 times
as fast on a CPU core as the plain network, and features that differ by 2e-6 in relative norm, which is the rounding
of float32 convolutions.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celebgen_cli.errors import CelebgenError, first_line
from celebgen_cli.evaluation.cache import cache_folder
from celebgen_cli.files import atomic_path, sha256_file
from celebgen_cli.models.digest import state_sha256

if TYPE_CHECKING:
    import torch

INCEPTION_NAME = "inception-v3-compat"
"""torch-fidelity's name for the network."""

LAYER = "2048"
"""torch-fidelity's name for the layer: the activations after the last pooling."""

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
INCEPTION_FILE = INCEPTION_URL.rsplit("/", 1)[1]
INCEPTION_SHA256_START = "6726825d"

Announce = Callable[[str], None]


class FeatureExtractor(Protocol):
    """What turns images into the vectors that a metric compares."""

    @property
    def name(self) -> str:
        """Name of the network."""

    @property
    def layer(self) -> str:
        """Name of the layer."""

    @property
    def dimensions(self) -> int:
        """Length D of a feature vector."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights that decide the features."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to float32 [N, D]."""


class FidelityFeatures:
    """A feature extractor of torch-fidelity that was built around weights which were read without running a pickle.

    Args:
        network: takes uint8 [B, 3, H, W] and gives a tuple with one tensor [B, D]; moved to `device`.
        name, layer, dimensions, weights_sha256: see `FeatureExtractor`.
        device: where to run.
        batch_size: images at a time.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        name: str,
        layer: str,
        dimensions: int,
        weights_sha256: str,
        device: str | torch.device,
        batch_size: int,
    ) -> None:
        import torch

        self.name, self.layer, self.dimensions, self.weights_sha256 = name, layer, dimensions, weights_sha256
        self.device, self.batch_size = torch.device(device), batch_size
        self._network = network.to(self.device)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images of any size, 0 to 255; they are resized by the network itself.

        Args:
            images: uint8 [N, H, W, 3], RGB.

        Returns:
            float32 [N, D].
        """
        import torch

        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}")
        out = np.empty((len(images), self.dimensions), dtype=np.float32)
        with torch.inference_mode(), _full_precision(self.device):
            for start in range(0, len(images), self.batch_size):
                batch = np.ascontiguousarray(images[start : start + self.batch_size].transpose(0, 3, 1, 2))
                (features,) = self._network(torch.from_numpy(batch).to(self.device))
                out[start : start + len(batch)] = features.cpu().numpy()
        return out


class Inception(FidelityFeatures):
    """torch-fidelity's InceptionV3, layer 2048, whose inputs become 299x299.

    Args:
        state: its state dict; the classifier `fc`, which no metric here uses, may be absent.
        device: where to run.
        batch_size: images at a time; None is 8 on a CPU, where larger ones are slower, and 64 elsewhere.

    Raises:
        CelebgenError: the tensors are not those of this network.
    """

    def __init__(
        self, state: Mapping[str, torch.Tensor], device: str | torch.device = "cpu", batch_size: int | None = None
    ) -> None:
        import torch

        digest = state_sha256({name: part for name, part in state.items() if not name.startswith("fc.")})
        batch_size = batch_size or (8 if torch.device(device).type == "cpu" else 64)
        super().__init__(_network(state), INCEPTION_NAME, LAYER, 2048, digest, device, batch_size)


def load_inception(
    weights: Path | str | None = None, device: str | torch.device = "cpu", *, announce: Announce | None = None
) -> Inception:
    """Find, load and check the Inception weights.

    Args:
        weights: a file (.pth, or .safetensors with the same tensors); None looks at `$CELEBGEN_INCEPTION_WEIGHTS`,
            then where torch-fidelity or celebgen may have put its download, then downloads (91 MiB).
        device: where to run.
        announce: called with one sentence before a download begins.

    Raises:
        CelebgenError: no weights are at hand and none can be fetched, or the file is not this network.
    """
    path = find_inception_weights(weights) or _download(announce)
    try:
        return Inception(read_state(path), device)
    except CelebgenError as error:
        raise CelebgenError(f"{path} cannot be used as Inception weights: {error}") from error


def find_inception_weights(weights: Path | str | None = None) -> Path | None:
    """The file to load, or None where only a download is left.

    Raises:
        CelebgenError: a file was named, as argument or in `$CELEBGEN_INCEPTION_WEIGHTS`, and does not exist.
    """
    named = weights or os.environ.get("CELEBGEN_INCEPTION_WEIGHTS")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            where = "--inception-weights" if weights else "$CELEBGEN_INCEPTION_WEIGHTS"
            raise CelebgenError(f"the Inception weights {path} that {where} names do not exist")
        return path
    torch_home = os.environ.get("TORCH_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "torch"
    )
    places = (cache_folder() / INCEPTION_FILE, Path(torch_home).expanduser() / "hub" / "checkpoints" / INCEPTION_FILE)
    return next((place for place in places if place.is_file()), None)


def inception_identity(weights: Path | str | None = None) -> str:
    """Which Inception weights `load_inception` takes: "published", which a download would be, or a file's SHA-256.

    Raises:
        CelebgenError: a file was named and does not exist.
    """
    path = find_inception_weights(weights)
    digest = None if path is None else sha256_file(path)
    return "published" if digest is None or digest.startswith(INCEPTION_SHA256_START) else digest


def probe(extractor: FeatureExtractor) -> list[float]:
    """The first 16 features of one fixed pattern: two extractors that agree on it are the same network.

    Saved statistics carry this list, so that they are not compared with another network's features.
    """
    rows, columns, channels = np.indices((64, 64, 3))
    pattern = ((rows * 37 + columns * 91 + channels * 53 + rows * columns) % 256).astype(np.uint8)
    return [round(float(value), 5) for value in extractor(pattern[None])[0, :16]]


def _network(state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    tensors = dict(state)
    for name, shape in (("fc.weight", (1008, 2048)), ("fc.bias", (1008,))):
        tensors.setdefault(name, torch.full(shape, float("nan")))
    # The class insists on reading a file with the unrestricted loader: it is given a buffer that was written here.
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    buffer.seek(0)
    try:
        network = FeatureExtractorInceptionV3(INCEPTION_NAME, [LAYER], feature_extractor_weights_path=buffer)
    except RuntimeError as error:  # load_state_dict lists every tensor that is missing or of another shape
        raise CelebgenError("its tensors are not those of torch-fidelity's InceptionV3 (2015-12-05)") from error
    network.double()
    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = torch.nn.Identity()
    return network.float().to(memory_format=torch.channels_last).eval().requires_grad_(False)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .pth or .safetensors file; nothing in it is ever run.

    Raises:
        CelebgenError: it is damaged, or holds anything but a dictionary of tensors.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        reason = first_line(error)
        raise CelebgenError(f"it is damaged or holds more than tensors ({reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CelebgenError("it does not hold a dictionary of tensors")
    return dict(state)


@contextlib.contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """TF32 off: its 10 bits of mantissa would move the figure between one GPU and the next."""
    import torch

    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def _download(announce: Announce | None) -> Path:
    import urllib.request

    target = cache_folder() / INCEPTION_FILE
    if announce:
        announce(f"fetching the Inception weights (91 MiB) to {target}")
    with atomic_path(target) as temporary:
        try:
            with urllib.request.urlopen(INCEPTION_URL, timeout=30) as answer, temporary.open("wb") as file:
                while block := answer.read(1 << 20):
                    file.write(block)
            whole = sha256_file(temporary).startswith(INCEPTION_SHA256_START)
            reason: object = "what arrived has another SHA-256 than the published file"
        except OSError as error:  # URLError is one
            whole, reason = False, getattr(error, "reason", None) or error
        if not whole:
            raise CelebgenError(
                f"the Inception weights are not here and could not be fetched ({reason}): get {INCEPTION_URL} on a "
                "machine with internet access and name the file with --inception-weights or $CELEBGEN_INCEPTION_WEIGHTS"
            )
    return target
