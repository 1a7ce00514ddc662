"""A second stochastic level between text and latent: a code w of few numbers, p(w|c), and with it p(z|w).

What text says of a latent is little; what the first principal components of latents say (light, background, pose, the
hair's outline) is much, and a mixture of Gaussians knows how these are distributed. So w is drawn first, and denoising
starts from p(z|w): after DiffuseVAE (Pandey et al. 2022, arXiv 2201.00308), whose coarse picture is a whole VAE's.
"""

import torch
from torch import Tensor, nn

from celebgen_cli.models.layers import Gaussian
from celebgen_cli.models.mixture import fit_mixture

RIDGE = 10.0  # of the regression of codes on text
LEAST = 1e-3  # of a std, so that what the code says altogether can still be whitened


class Coarse(nn.Module):
    """p(w|c): w = W' c + b + F e, c the pooled text, e from a mixture of Gaussians with mean 0 and covariance I as a
    whole; and p(z|w) = N(m + s (center + sum_k w_k basis_k), s^2 r^2).

    w, e [B, K]: w the coordinates of (z - m) / s - center along the orthonormal basis [K, C, h, h]; m, s [C]: mean and
    std of a channel; r [C, h, h]: std of what the basis leaves over; M parts of the mixture. All are buffers that `fit`
    fills; nothing here is trained.
    """

    basis: Tensor
    center: Tensor
    mean: Tensor
    log_scale: Tensor
    log_rest: Tensor
    weight: Tensor
    bias: Tensor
    factor: Tensor
    part_weights: Tensor
    part_means: Tensor
    part_factors: Tensor

    def __init__(self, components: int, channels: int, size: int, pooled_width: int, parts: int) -> None:
        super().__init__()
        shape = (channels, size, size)
        self.register_buffer("basis", torch.zeros(components, *shape))
        self.register_buffer("center", torch.zeros(shape))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("log_scale", torch.zeros(channels))
        self.register_buffer("log_rest", torch.zeros(shape))
        self.register_buffer("weight", torch.zeros(pooled_width, components))
        self.register_buffer("bias", torch.zeros(components))
        self.register_buffer("factor", torch.eye(components))
        self.register_buffer("part_weights", torch.full((parts,), 1 / parts))
        self.register_buffer("part_means", torch.zeros(parts, components))
        self.register_buffer("part_factors", torch.eye(components).repeat(parts, 1, 1))

    def code(self, z: Tensor) -> Tensor:
        """w [B, K] of latents z [B, C, h, h]."""
        return (self._scaled(z) - self.center).flatten(1) @ self.basis.flatten(1).T

    def expected(self, pooled: Tensor, other: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """The mean [B, K] of p(w|c) for pooled text [B, p], guided.

        other, guidance: the text to guide away from, and the scale: the mean goes to other + guidance (text - other).
        Where what text does not say is one Gaussian this is guidance of the score exactly, since both codes are spread
        alike (Ho & Salimans 2022, arXiv 2207.12598); of a mixture the mean alone is moved in the same way.
        """
        said = pooled.float()
        if other is not None and guidance != 1:
            said = torch.lerp(other.float(), said, guidance)
        return said @ self.weight + self.bias

    def unsaid(self, noise: Tensor) -> Tensor:
        """e [B, K], what text does not say of a code, from standard normal noise [B, more than K].

        The first K numbers of a row are those of its part of the mixture, which the next one chooses.
        """
        count = len(self.basis)
        noise = noise.to(self.factor)
        bounds = self.part_weights.cumsum(0)
        share = torch.special.ndtr(noise[:, count]) * bounds[-1]  # weights kept in few bits do not add up to 1
        part = torch.searchsorted(bounds, share)
        return self.part_means[part] + torch.einsum("bij,bj->bi", self.part_factors[part], noise[:, :count])

    def draw(self, pooled: Tensor, unsaid: Tensor, other: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """w [B, K] for pooled text [B, p] and e [B, K] of `unsaid`, or a mixture of such, mixed as noise is.

        other, guidance: see `expected`.
        """
        return self.expected(pooled, other, guidance) + unsaid @ self.factor.T

    @torch.no_grad()
    def fold(self, other: Tensor, guidance: float) -> None:
        """Make codes drawn without guidance those that were drawn with it, away from the pooled text `other` [p]."""
        self.bias.add_((1 - guidance) * (other.float() @ self.weight))
        self.weight.mul_(guidance)

    def coordinates(self, code: Tensor) -> Gaussian:
        """p(z|w), [B, C, h, h]."""
        u = self.center + torch.einsum("bk,kchw->bchw", code, self.basis)
        m, log_s = self.mean[:, None, None], self.log_scale[:, None, None]
        return Gaussian(m + log_s.exp() * u, (2 * (log_s + self.log_rest)).expand_as(u))

    def _scaled(self, z: Tensor) -> Tensor:
        return (z.float() - self.mean[:, None, None]) * torch.exp(-self.log_scale)[:, None, None]

    @torch.no_grad()
    def fit(self, means: Tensor, drawn: Tensor, pooled: Tensor) -> float:
        """Fill the buffers; returns the share of the latents' variance that codes say.

        Args:
            means: [N, C, h, h], means of the encoder's posterior, from which the components are.
            drawn: the same shape, draws of the posterior, which give codes and rests their spread.
            pooled: [N, p], pooled text of a caption of each.

        Raises:
            ValueError: fewer than two latents.
        """
        if len(means) < 2:
            raise ValueError("principal components need at least two latents")
        self.mean.copy_(drawn.mean((0, 2, 3)))
        self.log_scale.copy_(drawn.transpose(0, 1).flatten(1).std(1, correction=0).clamp(min=1e-6).log())
        scaled = self._scaled(means)
        self.center.copy_(scaled.mean(0))
        flat = (scaled - self.center).flatten(1).double()
        vectors = torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1)[:, : len(self.basis)]  # largest first
        self.basis.copy_(vectors.T.reshape(self.basis.shape))
        codes = self.code(drawn).double()
        text = torch.cat([pooled.double().cpu(), torch.ones(len(pooled), 1, dtype=torch.float64)], dim=1)
        ridge = RIDGE * torch.eye(text.shape[1], dtype=torch.float64)
        ridge[-1, -1] = 0.0
        found = torch.linalg.lstsq(text.T @ text + ridge, text.T @ codes).solution
        self.weight.copy_(found[:-1])
        self.bias.copy_(found[-1])
        unsaid = codes - text @ found
        spread = unsaid.T @ unsaid / len(unsaid)
        factor = torch.linalg.cholesky(spread + 1e-9 * spread.trace() * torch.eye(len(spread)).double())
        self.factor.copy_(factor)
        mixture = fit_mixture(torch.linalg.solve_triangular(factor, unsaid.T, upper=False).T, len(self.part_weights))
        for buffer, fitted in zip((self.part_weights, self.part_means, self.part_factors), mixture, strict=True):
            buffer.copy_(fitted)
        whole = self._scaled(drawn) - self.center
        rest = whole - torch.einsum("bk,kchw->bchw", codes.float(), self.basis)
        self.log_rest.copy_(rest.square().mean(0).sqrt().clamp(min=LEAST).log())
        return float(1 - rest.square().sum() / whole.square().sum())
