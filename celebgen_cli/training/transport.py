"""Drawn latents, decoded, moved to where photographs are in the features of frozen networks, without a critic.

To each layer of a network a picture is the mean of its activations over positions, and their deviation: what is seldom
but strong, as edges are, and what is frequent but weak have one mean. Over decoded drawn latents, and over
photographs, both have a mean and a covariance. Of all affine maps from one such Gaussian to the other, the one that
moves least (Peyre & Cuturi 2019, arXiv 1803.00567, remark 2.31) says for each latent which features its picture should
have. They are told once, from the decoder that training begins with, and stay: maps that are measured anew while the
decoder follows them chase its own drift, and it runs away.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.devices import sent
from celebgen_cli.models.digest import state_sha256
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.processes import barrier, collected, same, world
from celebgen_cli.training.adversarial import shifted
from celebgen_cli.training.batches import Examples, batch_rows, mirrored, random_sides, torch_generator
from celebgen_cli.training.checkpoints import load_tensors, save_whole
from celebgen_cli.training.drawn import Drawn
from celebgen_cli.training.perceptual import LPIPS

PHOTOGRAPHS, FEWEST = 5000, 1000  # whose features are the goal: at most, and at least where the pool is small
COARSE = 4  # pixels; means over squares of this side stay as they are, so that a face stays the one that was drawn
RIDGE = 1e-3  # of photographs' mean variance, added on both sides: there may be fewer pictures than channels
FLOOR = 1e-3  # added to variances over positions: where a channel is silent, the root would have no gradient
BATCH, BATCH_ON_GPU = 50, 256


@dataclass(frozen=True)
class Targets:
    """What the pictures of N drawn latents should be like.

    features: two for each layer, float [N, C]: mean activations over positions, and their deviations (see
        `pooled_features`).
    scales: of each, the trace of the covariance of photographs' features: squared distances are told in it.
    ways: of each, the mean squared distance of the decoder that training began with, told in `scales`.
    coarse: float16 [N, 3, S / COARSE, S / COARSE], means over squares of pixels of that decoder's pictures.
    """

    features: list[Tensor]
    scales: list[float]
    ways: list[float]
    coarse: Tensor


class Transport:
    """The distance of decoded latents to their targets.

    Args:
        networks: whose features are compared; none of them is trained.
        targets: of all latents of the pool.
        calibration: of the model that drew them, whose pictures are looked at as it would show them; None changes none.
    """

    def __init__(self, networks: Sequence[LPIPS], targets: Targets, calibration: Calibration | None = None) -> None:
        self.networks, self.targets, self.calibration = networks, targets, calibration

    def __call__(
        self, decoded: Tensor, rows: np.ndarray, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How far the pictures [B, 3, S, S] of these rows of the pool are from what they should be.

        The networks see them moved by a few pixels, as `generator` has it: strides and maxima over windows have a grid,
        and patterns that fit its positions would please them without being more like photographs.

        Returns:
            The mean squared distance of their features to the targets, a mean over means and deviations of layers, in
            variances of photographs; the mean absolute difference of their coarse pictures from those that training
            began with; and what share the first is of what it was for the pool at the beginning (no gradient).
        """
        targets, index, device = self.targets, torch.from_numpy(rows), decoded.device
        seen = decoded if self.calibration is None else self.calibration.develop(decoded)
        found = pooled_features(self.networks, shifted(seen, generator))
        distances = torch.stack([
            (feature - sent(goal[index], device)).square().sum(1).mean() / scale
            for feature, goal, scale in zip(found, targets.features, targets.scales, strict=True)
        ])  # fmt: skip
        coarse = F.avg_pool2d(decoded.float(), COARSE) - sent(targets.coarse[index], device).float()
        distance = distances.mean()
        return distance, coarse.abs().mean(), distance.detach() / max(float(np.mean(targets.ways)), 1e-12)


def pooled_features(networks: Sequence[LPIPS], images: Tensor, calibration: Calibration | None = None) -> list[Tensor]:
    """Of each layer, the mean of its activations over positions, then their standard deviation: float32 [B, C] each.

    Pictures are [B, 3, S, S] in [-1, 1]. A deviation is the root of the variance, divided by the number of positions,
    plus `FLOOR`.
    """
    seen = images if calibration is None else calibration.develop(images)
    found = []
    for layer in (layer for network in networks for layer in network.layers(seen)):
        variance, mean = torch.var_mean(layer.float(), (2, 3), correction=0)
        found += [mean, (variance + FLOOR).sqrt()]
    return found


def transport_map(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The affine map that takes the Gaussian of features `fake` [N, C] to that of `real` [M, C] and moves least.

    Returns:
        A, b, float64 [C, C] and [C]: a feature f becomes A f + b. A is symmetric, S_f^(-1/2) (S_f^(1/2) S_r
        S_f^(1/2))^(1/2) S_f^(-1/2), with `RIDGE` of the mean variance of `real` added to both covariances.
    """
    fake, real = fake.double(), real.double()
    have, want = (torch.cov(side.T, correction=0).reshape((side.shape[1],) * 2) for side in (fake, real))
    ridge = RIDGE * want.diagonal().mean().clamp(min=1e-12) * torch.eye(len(have), dtype=torch.double)
    have, want = have + ridge, want + ridge
    root, inverse = _power(have, 0.5), _power(have, -0.5)
    matrix = inverse @ _power(root @ want @ root, 0.5) @ inverse
    return matrix, real.mean(0) - matrix @ fake.mean(0)


def _power(symmetric: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(symmetric)
    return (vectors * values.clamp(min=1e-300) ** exponent) @ vectors.T


def find_targets(
    folder: Path,
    pool: Drawn,
    cvae: CVAE,
    text: TextEncoder,
    examples: Examples,
    networks: Sequence[LPIPS],
    calibration: Calibration | None,
    seed: int,
    *,
    begun: bool,
    mixed: Callable[[], AbstractContextManager[object]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Targets:
    """Decode the pool, look at photographs, and tell the targets; or read them from `folder`, where a run left them.

    `begun`: the run has checkpoints, so its decoder is not any more the one that the targets are told from.
    `progress(done, total)` counts pictures of both kinds.

    Raises:
        CelebgenError: the disk is full, or the file there is damaged.
    """
    count = min(PHOTOGRAPHS, max(FEWEST, 2 * len(pool)), len(examples))
    path = folder / f"targets-{_key(pool, examples, networks, calibration, seed)}.safetensors"
    decoder = torch.frombuffer(bytearray.fromhex(state_sha256(cvae.decoder.state_dict())), dtype=torch.uint8)
    if same(path.is_file()):
        kept = load_tensors(path)
        if same(begun or torch.equal(kept["decoder"], decoder)):
            return _targets(kept)
    where = cvae.prior.queries.device
    rows, sides = batch_rows(len(examples), count, 0, seed + 2), random_sides(count, torch_generator(seed, 0, 74))

    def decoded(index: np.ndarray) -> list[Tensor]:
        z = pool.latents[torch.from_numpy(index)].to(where).float()
        images = cvae.decode(z, text([pool.captions[row] for row in index]).to(where))
        return [*pooled_features(networks, images, calibration), F.avg_pool2d(images.float(), COARSE)]

    def photographs(index: np.ndarray) -> list[Tensor]:
        images = mirrored(examples.images(rows[index], where), sides[torch.from_numpy(index)])
        return pooled_features(networks, images)

    total = len(pool) + count
    with torch.inference_mode(), mixed():
        drawn = _of_all(decoded, len(pool), where, lambda done: progress(done, total))
        real = _of_all(photographs, count, where, lambda done: progress(len(pool) + done, total))
    if world().main:  # the others have given their shares away
        *have, coarse = drawn
        found = {"coarse": coarse.half(), "decoder": decoder}
        for i, (fake, true) in enumerate(zip(have, real, strict=True)):
            matrix, offset = transport_map(fake, true)
            goal, scale = fake.double() @ matrix + offset, true.double().var(0, correction=0).sum().clamp(min=1e-6)
            found[f"features.{i}"], found[f"scale.{i}"] = goal.float(), scale.float()
            found[f"way.{i}"] = ((fake - goal).square().sum(1).mean() / scale).float()
        save_whole(found, path)
    barrier()
    return _targets(load_tensors(path))


def _targets(kept: dict[str, Tensor]) -> Targets:
    features, scales, ways = (
        [kept[f"{name}.{i}"] for i in range(sum(key.startswith(f"{name}.") for key in kept))]
        for name in ("features", "scale", "way")
    )
    return Targets(features, [float(x) for x in scales], [float(x) for x in ways], kept["coarse"])


def _of_all(
    look: Callable[[np.ndarray], list[Tensor]], count: int, where: torch.device, progress: Callable[[int], None]
) -> list[Tensor]:
    """What `look` gives for rows 0..count-1, batch by batch; each process takes its share, and all but the main one get
    an empty list."""
    found: list[list[Tensor]] = []
    batch = BATCH_ON_GPU if where.type == "cuda" else BATCH
    for first in range(0, count, batch * world().size):
        start = first + batch * world().rank
        index = np.arange(start, min(start + batch, count))
        own = [part.cpu() for part in look(index)] if len(index) else None
        found += [parts for parts in collected(own) if parts is not None]
        progress(min(first + batch * world().size, count))
    return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _key(
    pool: Drawn, examples: Examples, networks: Sequence[LPIPS], calibration: Calibration | None, seed: int
) -> str:
    looked = (pool.captions, examples.split.fingerprint, len(examples), PHOTOGRAPHS, FEWEST, COARSE, RIDGE, FLOOR, seed)
    digest = hashlib.sha256(repr(looked).encode())
    digest.update(pool.latents.numpy().tobytes())
    for network in networks:
        digest.update(state_sha256(network.state_dict()).encode())
    if calibration is not None:
        digest.update(calibration.response.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]
