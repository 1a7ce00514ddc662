"""Whether a CVAE's latent lives and its prior fits: collapse, the whitened latent's moments, what the text explains.

A latent dimension has collapsed where KL(q(z|x) || p(z|c)) is near 0: then z says nothing of the picture (Bowman et al.
2016, arXiv 1511.06349). The prior fits where u = (z - mu_p(c)) / sigma_p(c) has mean 0 and variance 1 on pictures
that nobody trained on: that is what the denoiser is started from.
"""

from collections.abc import Mapping

import torch

from celebgen_cli.models.cvae import kl_divergence
from celebgen_cli.models.layers import Gaussian

ACTIVE = 0.01
"""Nats of KL from which a dimension counts as used; Burda et al. 2015 (arXiv 1509.00519) take 0.01 of a variance."""


class LatentHealth:
    """Sums over batches of posteriors and priors; `figures` are what they come to."""

    def __init__(self) -> None:
        self.count = 0
        self._kl = self._first = self._second = torch.zeros(())
        self._with_text = self._without = 0.0

    def add(self, q: Gaussian, p: Gaussian, nothing: Gaussian) -> None:
        """Take in B pictures.

        Args:
            q: posteriors, mean and logvar [B, C, h, h].
            p: priors of their captions, the same shape.
            nothing: prior of the empty text, the same shape or [1, C, h, h].
        """
        # on the CPU, for not every device has float64
        q, p, nothing = (Gaussian(*(part.cpu().double() for part in g)) for g in (q, p, nothing))
        whitened = (q.mean - p.mean) * (-0.5 * p.logvar).exp()
        self.count += len(q.mean)
        self._kl = self._kl + kl_divergence(q, p).sum(0)
        self._first = self._first + whitened.sum((0, 2, 3))
        self._second = self._second + (whitened**2 + (q.logvar - p.logvar).exp()).sum((0, 2, 3))
        self._with_text += float((q.mean - p.mean).square().sum())
        self._without += float((q.mean - nothing.mean).square().sum())

    def figures(self) -> Mapping[str, float]:
        """Figures of all that was added.

        Returns:
            `valid_kl`: KL(q || p(z|c)), nats a dimension; `valid_kl_c0` ...: of each channel.
            `valid_active`: share of the C h h dimensions whose mean KL is above `ACTIVE`.
            `whitened_mean_c0` ..., `whitened_variance_c0` ...: of u with z ~ q, over pictures and positions; should be
                0 and 1. `whitened_variance_min`, `_max`: over the channels.
            `valid_text_r2`: 1 - |mu_q - mu_p(c)|^2 / |mu_q - mu_p(nothing)|^2, the share of the posterior means'
                variance about the mean face that the text explains; below 0 where it misleads.
        """
        kl = self._kl / self.count
        places = self.count * kl[0].numel()
        mean = self._first / places
        variance = self._second / places - mean**2
        figures = {
            "valid_kl": float(kl.mean()),
            "valid_active": float((kl > ACTIVE).double().mean()),
            "valid_text_r2": 1 - self._with_text / self._without if self._without > 0 else 0.0,
            "whitened_variance_min": float(variance.min()),
            "whitened_variance_max": float(variance.max()),
        }
        for name, values in (("valid_kl", kl.mean((1, 2))), ("whitened_mean", mean), ("whitened_variance", variance)):
            figures |= {f"{name}_c{channel}": float(value) for channel, value in enumerate(values)}
        return figures


def is_per_channel(name: str) -> bool:
    """Whether a figure is of one channel: those are for the file, not for a line on the terminal."""
    head, _, channel = name.rpartition("_c")
    return bool(head) and channel.isdigit()
