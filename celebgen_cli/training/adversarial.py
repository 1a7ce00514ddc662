"""The adversarial term of the decoder: a critic over pixels and a frozen network's features, hinge, adaptive weight.

Isola et al. 2017 (arXiv 1611.07004) for the patches, Sauer et al. 2021 (arXiv 2111.01007) for a critic over a frozen
network's features, Miyato et al. 2018 (arXiv 1802.05957) for the spectral norm of its layers, Miyato & Koyama 2018
(arXiv 1802.05637) for the text as a projection, Lim & Ye 2017 (arXiv 1705.02894) for the hinge, Esser et al. 2021
(arXiv 2012.09841, equation 7) for the weight.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from celebgen_cli.models.cvae import CVAE
from celebgen_cli.training.distributed import norm_of_all
from celebgen_cli.training.perceptual import LPIPS

# one tensor [B, ...] a scale, each weighing the same
Logits = list[Tensor]


SHIFT = 4  # pixels at most, in each direction, by which pictures are moved before the critic sees them


class PatchHead(nn.Module):
    """Says of each patch of 38 px whether it is real: images [B, 3, S, S] in [-1, 1] -> logits [B, 1, S/8, S/8].

    Beside the picture it sees what the picture's 4 px means leave over: there drawn pictures differ from photographs.
    No norm over positions, which would hide contrast; behind group norm this head learnt nothing.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 6
        for width in widths:
            layers += [spectral_norm(nn.Conv2d(before, width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            before = width
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(before, 1, 3, padding=1)))

    def forward(self, images: Tensor) -> Tensor:
        means = F.interpolate(F.avg_pool2d(images, 4), scale_factor=4, mode="nearest")
        return self.layers(torch.cat([images, 4 * (images - means)], dim=1)).float()


class FeatureHead(nn.Module):
    """Says of each position of a feature map [B, C, h, w] whether the picture is real -> logits [B, 1, h, w]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, width, 1)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 1, 1)),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).float()


class TextHead(nn.Module):
    """Says whether the picture shows what the text says: features [B, C, h, w], pooled text [B, p] -> logits [B, 1]."""

    def __init__(self, channels: int, pooled_width: int, width: int) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(channels, width), nn.LeakyReLU(0.2), nn.Linear(width, width))
        self.text = nn.Linear(pooled_width, width)

    def forward(self, features: Tensor, pooled: Tensor) -> Tensor:
        picture = self.picture(features.mean((2, 3)))
        return (picture * self.text(pooled)).sum(1, keepdim=True).float() * picture.shape[1] ** -0.5


class Critic(nn.Module):
    """Real or drawn? A head over pixels and, with a backbone, one over each of its layers and one that reads the text.

    images [B, 3, S, S] in [-1, 1], pooled text [B, p] -> Logits. The backbone is not part of the module: it is frozen,
    and neither trained, averaged nor kept in checkpoints.
    """

    def __init__(
        self, pooled_width: int, backbone: LPIPS | None, width: int = 96, patch_widths: tuple[int, ...] = (64, 128, 256)
    ) -> None:
        super().__init__()
        self.patches = PatchHead(patch_widths)
        self._backbone = (backbone,)  # in a tuple, where nn.Module does not look
        channels = () if backbone is None else backbone.channels
        self.layers = nn.ModuleList(FeatureHead(c, width) for c in channels)
        self.text = TextHead(channels[-1], pooled_width, width) if channels else None

    def forward(self, images: Tensor, pooled: Tensor) -> Logits:
        logits = [self.patches(images)]
        backbone = self._backbone[0]
        if backbone is not None:
            features = backbone.unit_features(images)
            logits += [head(f) for head, f in zip(self.layers, features, strict=True)]
            assert self.text is not None
            logits.append(self.text(features[-1], pooled))
        return logits


class AdversarialCVAE(nn.Module):
    """A CVAE and its critic: what is trained, checkpointed and averaged together."""

    def __init__(self, cvae: CVAE, critic: Critic) -> None:
        super().__init__()
        self.cvae, self.critic = cvae, critic


def cvae_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The CVAE's own tensors among those of a run, which may hold a critic beside it."""
    if not any(name.startswith("critic.") for name in weights):
        return weights
    return {name.removeprefix("cvae."): value for name, value in weights.items() if name.startswith("cvae.")}


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures [B, 3, S, S], all moved by the same up to `SHIFT` pixels in each direction; edges are mirrored."""
    size = images.shape[-1]
    down, right = torch.randint(2 * SHIFT + 1, (2,), generator=generator).tolist()
    return F.pad(images, (SHIFT,) * 4, mode="reflect")[..., down : down + size, right : right + size]


def critic_loss(
    critic: Critic, real: Tensor, real_text: Tensor, fake: Tensor, fake_text: Tensor, weight: float = 1.0
) -> Tensor:
    """Hinge loss of the critic, E[max(0, 1 - D(x))] + weight E[max(0, 1 + D(x'))], a mean over its heads.

    `real` and `fake` are pictures, each with its pooled text; no gradient reaches `fake`.
    """
    on_real, on_fake = critic(real, real_text), critic(fake.detach(), fake_text)
    return _mean([F.relu(1 - a).mean() + weight * F.relu(1 + b).mean() for a, b in zip(on_real, on_fake, strict=True)])


def deception_loss(critic: Critic, fake: Tensor, fake_text: Tensor) -> Tensor:
    """-E[D(x')]: what the decoder gains by deceiving the critic; no gradient reaches the critic."""
    held = {name: value.detach() for name, value in critic.named_parameters()}
    return -_mean([logits.mean() for logits in functional_call(critic, held, (fake, fake_text))])


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()


def balanced(reconstruction: Tensor, deception: Tensor, decoded: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The sum of both losses, the second weighted so that its gradient is `share` of the first's in size.

    The sizes are compared at the decoder's output (Esser et al. compare them at its last layer), so each loss is
    differentiated once: the sum returned has its value and, through `decoded`, its gradient.

    Args:
        reconstruction, deception: scalars, functions of `decoded`.
        decoded: float32 [B, 3, S, S] with a gradient.
        share: of the reconstruction's gradient norm; 0 leaves the second loss out.

    Returns:
        The weighted sum, and the weight (no gradient).
    """
    scale = decoded.numel()  # gradients of means are tiny, and half precision would lose them
    along = torch.autograd.grad(reconstruction * scale, decoded)[0]
    against = torch.autograd.grad(deception * scale, decoded)[0]
    weight = share * norm_of_all(along, scale) / (norm_of_all(against, scale) + 1e-12)  # of the whole batch
    weight = weight.clamp(max=1e4).detach()
    value = reconstruction.detach() + weight * deception.detach()
    carried = (decoded * (along + weight * against).detach()).sum() / scale
    return value + carried - carried.detach(), weight
