"""The adversarial term of the CVAE: a patch critic, the hinge loss and the adaptive weight.

Isola et al. 2017 (arXiv 1611.07004) for the patches, Lim & Ye 2017 (arXiv 1705.02894) for the hinge, Esser et al. 2021
(arXiv 2012.09841, equation 7) for the weight.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.layers import group_norm


class PatchCritic(nn.Module):
    """Says of each patch of 38 px whether it is real: images [B, 3, S, S] in [-1, 1] -> logits [B, 1, S/8, S/8]."""

    def __init__(self, widths: tuple[int, ...] = (48, 96, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for i, width in enumerate(widths):
            layers.append(nn.Conv2d(before, width, 4, stride=2, padding=1))
            if i:  # a norm on the first layer would hide the picture's contrast
                layers.append(group_norm(width))
            layers.append(nn.LeakyReLU(0.2))
            before = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).float()


class AdversarialCVAE(nn.Module):
    """A CVAE and its critic: what is trained, checkpointed and averaged together."""

    def __init__(self, cvae: CVAE, critic: PatchCritic) -> None:
        super().__init__()
        self.cvae, self.critic = cvae, critic


def cvae_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The CVAE's own tensors among those of a run, which may hold a critic beside it."""
    if not any(name.startswith("critic.") for name in weights):
        return weights
    return {name.removeprefix("cvae."): value for name, value in weights.items() if name.startswith("cvae.")}


def critic_loss(critic: PatchCritic, real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the critic: E[max(0, 1 - D(x))] + E[max(0, 1 + D(x'))]; no gradient reaches `fake`."""
    on_real, on_fake = critic(torch.cat([real, fake.detach()])).chunk(2)
    return F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()


def deception_loss(critic: PatchCritic, fake: Tensor) -> Tensor:
    """-E[D(x')]: what the decoder gains by deceiving the critic; no gradient reaches the critic."""
    held = {name: value.detach() for name, value in critic.named_parameters()}
    return -functional_call(critic, held, (fake,)).mean()


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
    weight = share * along.norm() / (against.norm() + 1e-12)
    weight = weight.clamp(max=1e4).detach()
    value = reconstruction.detach() + weight * deception.detach()
    carried = (decoded * (along + weight * against).detach()).sum() / scale
    return value + carried - carried.detach(), weight
