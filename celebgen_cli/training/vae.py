"""Training the CVAE: L1 + LPIPS + beta KL(q(z|x,c) || p(z|c)), an anchored scale, and the prior fitted alongside.

Optional: a critic; a frozen encoder, which leaves latents and everything trained on them as they are; and latents that
a denoiser drew, of which the decoder learns to make faces that the critic takes for real ones, or that have features
of photographs (`celebgen_cli.training.transport`).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.errors import UsageError
from celebgen_cli.images import save_grid
from celebgen_cli.models.cvae import CVAE, CVAEConfig, cross_entropy, kl_divergence, kl_to_standard, to_uint8
from celebgen_cli.models.devices import sent
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.training.adversarial import (
    AdversarialCVAE,
    Critic,
    balanced,
    critic_loss,
    deception_loss,
    shifted,
)
from celebgen_cli.training.ahead import Ahead
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    chunks,
    mirrored,
    noise_generator,
    numpy_generator,
    random_sides,
    torch_generator,
)
from celebgen_cli.training.compiling import callable_networks
from celebgen_cli.training.drawn import Drawn
from celebgen_cli.training.engine import Task
from celebgen_cli.training.health import LatentHealth
from celebgen_cli.training.parts import Part
from celebgen_cli.training.perceptual import LPIPS
from celebgen_cli.training.transport import Transport


@dataclass(frozen=True)
class CVAELossConfig:
    """Weights of the CVAE's loss; every term is a mean over its elements."""

    lpips: float = 0.5
    beta: float = 1.6e-2  # KL(q || p), nats a latent dimension; p is held fixed here
    anchor: float = 2e-4  # KL(q || N(0, I)): a learned prior would let the scale of z drift
    scale: float = 0.25  # L1 + LPIPS of the halved latent, decoded, against the halved picture (arXiv 2502.14831)
    adversarial: float = 0.0  # gradient of the critic's term, as a share of that of L1 + LPIPS; 0: no critic
    adversarial_from: int = 100  # steps for which the critic learns alone
    transport: float = 0.0  # gradient of drawn faces' distance to their targets, as such a share; 0: no targets
    drawn_share: float = 0.75  # share of a batch that is decoded from drawn latents, where there are any
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
        drawn: Drawn | None = None,
    ) -> None:
        self.train, self.held_out, self.text, self.perceptual = train, held_out, text, perceptual
        # the same weights again: what is compiled is called in training alone
        self._distance = copy.copy(perceptual)
        self.drawn = drawn
        self.transport: Transport | None = None  # told from the decoder, which a resumed run has read by then
        self.batch_size, self.seed, self.settings = batch_size, seed, loss or CVAELossConfig()
        torch.manual_seed(seed)
        self.model = CVAE(config)
        adversarial = self.settings.adversarial > 0
        self.coupled = adversarial or self.settings.transport > 0  # their share depends on the whole batch
        self.critic = Critic(config.pooled_width, perceptual) if adversarial else None
        # the weight of both follows the gradients, so their sum goes up and down with it
        self.watched = "l1" if self.coupled else "loss"
        self.module: nn.Module = self.model if self.critic is None else AdversarialCVAE(self.model, self.critic)
        self._ahead = Ahead(self._batch, next(text.parameters()).device)
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

    def networks(self) -> Sequence[nn.Module]:
        networks = callable_networks(self.model)  # the critic is called in ways of its own
        if self._distance is not None and self.device.type == "cuda":
            networks.append(self._distance)
        return networks

    @property
    def device(self) -> torch.device:
        return self.model.prior.queries.device

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        settings, count = self.settings, self.batch_size
        part = part or Part(0, count)
        rows, texts = self._ahead(step)
        generator = torch_generator(self.seed, step, 1)
        source = noise_generator(generator, self.device)
        sides = random_sides(count, generator)
        # pictures to rebuild; the rest of the batch is decoded from drawn latents
        kept = count if self.drawn is None else max(1, count - round(settings.drawn_share * count))
        own, made = _share(part, count, kept), _share(part, count, count - kept)
        pooled = self._pool_rows(step, count - kept, made)
        latents, heard = self._drawn_latents(pooled)
        here = np.union1d(np.arange(count)[part.rows], np.arange(count)[own.rows])  # rows that this part looks at
        pictures = mirrored(self.train.images(rows[here], self.device), sides[torch.from_numpy(here)])
        with torch.no_grad():
            features = self.text([*(texts[row] for row in here), "", *heard])  # row len(here): every dropped text
            if self.device.type == "cuda":
                features = features.filled()

        def at(some: Part) -> Tensor:
            return torch.from_numpy(np.searchsorted(here, np.arange(count)[some.rows]))

        images = pictures if len(here) == own.count else pictures[sent(at(own), self.device)]

        def dropped(rate: float) -> Tensor:
            keep = own.of(torch.rand(kept, generator=generator) >= rate)
            return sent(torch.where(keep, at(own), len(here)), self.device)

        with torch.set_grad_enabled(torch.is_grad_enabled() and not settings.freeze_encoder):
            q = self.model.encode(images, features.select(dropped(settings.drop_text_encoder)))
        noise = torch.randn((kept, *q.mean.shape[1:]), generator=source, device=source.device)
        z = q.sample(sent(own.of(noise), self.device))
        spoken = features.select(dropped(settings.drop_text_decoder))
        if self.drawn is not None:
            heard_features = features.select(torch.arange(len(here) + 1, len(features.pooled), device=self.device))
            z = torch.cat([z, latents])
            spoken = TextFeatures(*(torch.cat(pair) for pair in zip(spoken, heard_features, strict=True)))
        decoded = self.model.decode(z, spoken)

        # of pictures and latents a part may have a little more or less than its share
        total, logged = self._rebuilt_loss(decoded[: own.count], images, _weight(own, kept, part, count))
        if self.critic is not None:
            real, real_text = pictures, features.pooled[: len(here)]
            seen, fake_text, weigh = decoded, real_text, 1.0
            if self.drawn is not None:
                seen = mirrored(decoded[own.count :], made.of(random_sides(count - kept, generator)))
                fake_text, weigh = heard_features.pooled, _weight(made, count - kept, part, count)
                if len(here) > part.count:
                    real, real_text = (whole[sent(at(part), self.device)] for whole in (real, real_text))
            # a critic that sees each window elsewhere is not deceived by patterns that fit its grid of positions
            first, second, third = (shifted(x, generator) for x in (real, seen, seen))
            learned = critic_loss(self.critic, first, real_text, second, fake_text, weigh)
            logged["critic"] = learned.detach()
            if step >= settings.adversarial_from:
                deception = weigh * deception_loss(self.critic, third, fake_text)
                total, weight = balanced(total, deception, decoded, settings.adversarial)
                logged |= {"deception": deception.detach(), "deception_weight": weight}
        if self.transport is not None:
            weigh = _weight(made, count - kept, part, count)
            distance, moved, left = self.transport(decoded[own.count :], pooled, generator)
            # what is drawn keeps its tones over squares of 4 px: only what is finer is to change
            total, weight = balanced(total + weigh * moved, weigh * distance, decoded, settings.transport)
            logged |= {"moved": weigh * moved.detach(), "transport": weigh * left, "transport_weight": weight}
        if self.critic is not None:
            total = total + learned  # last: `balanced` lets through what reaches the decoder alone
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

    def _batch(self, step: int) -> tuple[np.ndarray, list[str]]:
        """Rows of a batch and their captions."""
        rows = batch_rows(len(self.train), self.batch_size, step, self.seed)
        return rows, self.train.captions(rows, numpy_generator(self.seed, step, 0)).texts

    def _pool_rows(self, step: int, count: int, part: Part | None = None) -> np.ndarray:
        """Rows of the pool, of `count` those of `part`; none where there is no pool."""
        if self.drawn is None:
            return np.empty(0, dtype=np.int64)
        return batch_rows(len(self.drawn), count, step, self.seed + 1)[(part or Part(0, count)).rows]

    def _drawn_latents(self, rows: np.ndarray) -> tuple[Tensor, list[str]]:
        """Latents of these rows of the pool, and their captions."""
        if self.drawn is None:
            return torch.empty(0, device=self.device), []
        latents = sent(self.drawn.latents[torch.from_numpy(rows)], self.device).float()
        return latents, [self.drawn.captions[row] for row in rows]

    def _rebuilt_loss(
        self, decoded: Tensor, images: Tensor, weight: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """L1 + LPIPS, both times `weight`."""
        total = weight * (decoded - images).abs().mean()
        logged: dict[str, Tensor | float] = {"l1": total.detach()}
        if self._distance is not None:
            lpips = weight * self._distance(decoded, images).mean()
            total = total + self.settings.lpips * lpips
            logged["lpips"] = lpips.detach()
        return total, logged

    def _scale_loss(self, z: Tensor, images: Tensor, text: TextFeatures) -> Tensor:
        """L1 + LPIPS of the halved latent, decoded, against the halved picture.

        Without it neighbouring positions of the latent hardly predict each other, and a denoiser finds nothing coarse
        to begin with (Skorokhodov et al. 2025, arXiv 2502.14831).
        """
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        decoded = self.model.decode(F.interpolate(z, scale_factor=0.5, mode="area"), text)
        loss = (decoded - small).abs().mean()
        if self._distance is not None and small.shape[-1] >= 32:  # the networks' last layers have nothing left of less
            loss = loss + self.settings.lpips * self._distance(decoded, small).mean()
        return loss

    def rows(self, step: int) -> Sequence[int]:
        examples = self.train
        return examples.rows[batch_rows(len(examples), self.batch_size, step, self.seed)].tolist()

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """PSNR and LPIPS of reconstructions of 256 held-out pictures, the text dropped, and the latent's health."""
        ema, health = _cvae(ema), LatentHealth()
        psnr, lpips, count = 0.0, 0.0, min(256, len(self.held_out))
        nothing, rng = self.text([""]), numpy_generator(self.seed, 0, 82)
        empty = ema.prior(nothing)
        for rows in chunks(count, 32):
            images = self.held_out.images(rows, self.device)
            decoded = ema.reconstruct(images, nothing).clamp(-1, 1)
            q = ema.encode(images, nothing.select(torch.zeros(len(rows), dtype=torch.long, device=self.device)))
            health.add(q, ema.prior(self.text(self.held_out.captions(rows, rng).texts)), empty)
            mse = ((decoded - images) ** 2).mean((1, 2, 3))
            psnr += float((10 * torch.log10(4 / mse)).sum())
            if self.perceptual is not None:
                lpips += float(self.perceptual(decoded, images).sum())
        figures = {"valid_psnr": psnr / count, **health.figures(), "score": -psnr / count}
        if self.perceptual is not None:
            figures["valid_lpips"] = lpips / count
        return figures

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Held-out pictures above their reconstructions, and below what the prior alone draws for their captions.

        With a pool of drawn latents: below, some of these, decoded.
        """
        ema = _cvae(ema)
        rows = np.arange(min(8, len(self.held_out)))
        images = self.held_out.images(rows, self.device)
        texts = self.held_out.captions(rows, numpy_generator(self.seed, 0, 80)).texts
        features = self.text(texts)
        if self.drawn is not None:
            latents, heard = self._drawn_latents(self._pool_rows(0, len(rows)))
            drawn = ema.decode(latents, self.text(heard))
        else:
            p = ema.prior(features)
            noise = torch.randn(p.mean.shape, generator=torch_generator(self.seed, 0, 81)).to(self.device)
            drawn = ema.decode(p.sample(noise), features)
        save_grid(
            to_uint8(torch.cat([images, ema.reconstruct(images, self.text([""])), drawn])), path, columns=len(rows)
        )


def _share(part: Part, batch: int, count: int) -> Part:
    """What goes with a part of a batch of `count` things that the whole batch has.

    Raises:
        UsageError: nothing does.
    """
    first, last = (edge * count // batch for edge in (part.first, part.first + part.count))
    if count and first == last:
        raise UsageError(
            f"a batch of {batch} has {count} rebuilt pictures or drawn latents, which is too few for parts of "
            f"{part.count}; choose a larger --batch-size or fewer processes"
        )
    return Part(first, last - first)


def _weight(own: Part, of: int, part: Part, batch: int) -> float:
    """By what a mean over `own`, of things of which the batch has `of`, counts in the loss of a part of it."""
    return own.count * batch / (of * part.count)


def _cvae(module: nn.Module) -> CVAE:
    """The CVAE in what is trained, with a critic beside it or without."""
    cvae = module.cvae if isinstance(module, AdversarialCVAE) else module
    assert isinstance(cvae, CVAE)
    return cvae
