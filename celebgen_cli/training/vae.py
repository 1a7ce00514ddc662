"""Training the CVAE: L1 + LPIPS + beta KL(q(z|x,c) || p(z|c)), an anchored scale, and the prior fitted alongside.

Optional: a patch critic, and a frozen encoder, which leaves latents and everything trained on them as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.images import save_grid
from celebgen_cli.models.cvae import CVAE, CVAEConfig, cross_entropy, kl_divergence, kl_to_standard, to_uint8
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.training.adversarial import AdversarialCVAE, PatchCritic, balanced, critic_loss, deception_loss
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    captions,
    chunks,
    numpy_generator,
    random_flip,
    torch_generator,
)
from celebgen_cli.training.engine import Task
from celebgen_cli.training.perceptual import LPIPS


@dataclass(frozen=True)
class CVAELossConfig:
    """Weights of the CVAE's loss; every term is a mean over its elements."""

    lpips: float = 0.5
    beta: float = 4e-3  # KL(q || p), nats a latent dimension; p is held fixed here
    anchor: float = 2e-4  # KL(q || N(0, I)): a learned prior would let the scale of z drift
    scale: float = 0.25  # L1 + LPIPS of the halved latent, decoded, against the halved picture (arXiv 2502.14831)
    adversarial: float = 0.0  # gradient of the patch critic's term, as a share of that of L1 + LPIPS; 0: no critic
    adversarial_from: int = 200  # steps for which the critic learns alone
    freeze_encoder: bool = False  # only the decoder learns, and latents made before stay valid
    drop_text_encoder: float = 0.5  # a photo has no caption, so q must work without
    drop_text_decoder: float = 0.1
    drop_text_prior: float = 0.15  # p(z) without text: the coordinates of an empty prompt


class CVAETask(Task):
    """Trains a CVAE on pictures and captions; see `celebgen_cli.training.engine.Task`."""

    kind = "vae"

    def __init__(
        self,
        config: CVAEConfig,
        train: Examples,
        held_out: Examples,
        text: TextEncoder,
        perceptual: LPIPS | None,
        batch_size: int,
        seed: int,
        loss: CVAELossConfig | None = None,
    ) -> None:
        self.train, self.held_out, self.text, self.perceptual = train, held_out, text, perceptual
        self.batch_size, self.seed, self.settings = batch_size, seed, loss or CVAELossConfig()
        torch.manual_seed(seed)
        self.model = CVAE(config)
        self.critic = PatchCritic() if self.settings.adversarial > 0 else None
        self.module: nn.Module = self.model if self.critic is None else AdversarialCVAE(self.model, self.critic)
        if self.settings.freeze_encoder:
            self.model.encoder.requires_grad_(False)
            self.model.prior.requires_grad_(False)

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        """Autoencoder, prior and critic apart: their gradients are of other sizes, and each has a loss of its own."""
        model, frozen = self.model, self.settings.freeze_encoder
        groups = [list(model.decoder.parameters())]
        if not frozen:
            groups = [[*model.encoder.parameters(), *model.decoder.parameters()], list(model.prior.parameters())]
        return groups if self.critic is None else [*groups, list(self.critic.parameters())]

    @property
    def device(self) -> torch.device:
        return self.model.prior.queries.device

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        settings, count = self.settings, self.batch_size
        rows = batch_rows(len(self.train), count, step, self.seed)
        rng, generator = numpy_generator(self.seed, step, 0), torch_generator(self.seed, step, 1)
        images = random_flip(self.train.images(rows, self.device), generator)
        texts, _ = captions(self.train.attributes(rows), rng)
        with torch.no_grad():
            features = self.text([*texts, ""])  # the last row stands for every dropped text

        def dropped(rate: float) -> Tensor:
            keep = torch.rand(count, generator=generator) >= rate
            return torch.where(keep, torch.arange(count), count).to(self.device)

        with torch.set_grad_enabled(torch.is_grad_enabled() and not settings.freeze_encoder):
            q = self.model.encode(images, features.select(dropped(settings.drop_text_encoder)))
        z = q.sample(torch.randn(q.mean.shape, generator=generator).to(self.device))
        spoken = features.select(dropped(settings.drop_text_decoder))
        decoded = self.model.decode(z, spoken)

        total, logged = self._picture_loss(decoded, images, step)
        if not settings.freeze_encoder:
            p = self.model.prior(features.select(dropped(settings.drop_text_prior)))
            kl = kl_divergence(q, Gaussian(p.mean.detach(), p.logvar.detach())).mean()
            anchor = kl_to_standard(q).mean()
            fit = cross_entropy(Gaussian(q.mean.detach(), q.logvar.detach()), p).mean()
            total = total + settings.beta * kl + settings.anchor * anchor + fit
            logged |= {"kl": kl.detach(), "anchor": anchor.detach(), "prior_nll": fit.detach()}
            if settings.scale > 0:
                scaled = self._scale_loss(z, images, spoken)
                total = total + settings.scale * scaled
                logged["scale"] = scaled.detach()
        return total, logged

    def _picture_loss(self, decoded: Tensor, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        """L1 + LPIPS, and with a critic its own loss and what the decoder gains by deceiving it."""
        settings = self.settings
        total = (decoded - images).abs().mean()
        logged: dict[str, Tensor | float] = {"l1": total.detach()}
        if self.perceptual is not None:
            lpips = self.perceptual(decoded, images).mean()
            total = total + settings.lpips * lpips
            logged["lpips"] = lpips.detach()
        if self.critic is None:
            return total, logged
        learned = critic_loss(self.critic, images, decoded)
        logged["critic"] = learned.detach()
        if step >= settings.adversarial_from:
            deception = deception_loss(self.critic, decoded)
            total, weight = balanced(total, deception, decoded, settings.adversarial)
            logged |= {"deception": deception.detach(), "deception_weight": weight}
        return total + learned, logged

    def _scale_loss(self, z: Tensor, images: Tensor, text: TextFeatures) -> Tensor:
        """L1 + LPIPS of the halved latent, decoded, against the halved picture.

        Without it neighbouring positions of the latent hardly predict each other, and a denoiser finds nothing coarse
        to begin with (Skorokhodov et al. 2025, arXiv 2502.14831).
        """
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        decoded = self.model.decode(F.interpolate(z, scale_factor=0.5, mode="area"), text)
        loss = (decoded - small).abs().mean()
        if self.perceptual is not None and small.shape[-1] >= 32:  # AlexNet's last layer has nothing left of less
            loss = loss + self.settings.lpips * self.perceptual(decoded, small).mean()
        return loss

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """PSNR and LPIPS of reconstructions of 256 held-out pictures, the text dropped."""
        ema = _cvae(ema)
        psnr, lpips, count = 0.0, 0.0, min(256, len(self.held_out))
        for rows in chunks(count, 32):
            images = self.held_out.images(rows, self.device)
            decoded = ema.reconstruct(images, self.text([""])).clamp(-1, 1)
            mse = ((decoded - images) ** 2).mean((1, 2, 3))
            psnr += float((10 * torch.log10(4 / mse)).sum())
            if self.perceptual is not None:
                lpips += float(self.perceptual(decoded, images).sum())
        figures = {"valid_psnr": psnr / count, "score": -psnr / count}
        if self.perceptual is not None:
            figures["valid_lpips"] = lpips / count
        return figures

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Held-out pictures above their reconstructions, and below what the prior alone draws for their captions."""
        ema = _cvae(ema)
        rows = np.arange(min(8, len(self.held_out)))
        images = self.held_out.images(rows, self.device)
        texts, _ = captions(self.held_out.attributes(rows), numpy_generator(self.seed, 0, 80))
        features = self.text(texts)
        p = ema.prior(features)
        noise = torch.randn(p.mean.shape, generator=torch_generator(self.seed, 0, 81)).to(self.device)
        drawn = ema.decode(p.sample(noise), features)
        save_grid(
            to_uint8(torch.cat([images, ema.reconstruct(images, self.text([""])), drawn])), path, columns=len(rows)
        )


def _cvae(module: nn.Module) -> CVAE:
    """The CVAE in what is trained, with a critic beside it or without."""
    cvae = module.cvae if isinstance(module, AdversarialCVAE) else module
    assert isinstance(cvae, CVAE)
    return cvae
