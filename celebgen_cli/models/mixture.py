"""A mixture of Gaussians fitted to white vectors by expectation maximisation (Dempster et al. 1977)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

ROUNDS = 60
ROWS_A_NUMBER = 2.0  # a part gets at least so many rows for each number of its covariance, else there are fewer parts
PRIOR = 20.0  # rows of variance 1 that each part is taken to have seen besides its own


class Mixture(NamedTuple):
    """M Gaussians in K dimensions: weights [M] (sum 1), means [M, K], factors [M, K, K] (covariance = F F')."""

    weights: Tensor
    means: Tensor
    factors: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) [N] of x [N, K]."""
        return _joint(self, x).logsumexp(1)


def fit_mixture(x: Tensor, parts: int) -> Mixture:
    """At most `parts` Gaussians for rows x [N, K], whose mean is 0 and covariance I, as are those of the result.

    What few rows cannot tell apart is left to fewer parts: the others have weight 0.
    """
    x = x.double()
    rows, width = x.shape
    used = max(1, min(parts, int(rows / (ROWS_A_NUMBER * width * (width + 1) / 2))))
    eye = torch.eye(width, dtype=x.dtype, device=x.device)
    mixture = Mixture(x.new_full((used,), 1 / used), x.new_zeros(used, width), eye.repeat(used, 1, 1))
    if used > 1:
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:used]
        mixture = mixture._replace(means=x[order.to(x.device)])
        for _ in range(ROUNDS):
            mixture = _step(mixture, x, eye)
        mixture = _whitened(mixture)
    left = parts - used
    return Mixture(
        torch.cat([mixture.weights, x.new_zeros(left)]),
        torch.cat([mixture.means, x.new_zeros(left, width)]),
        torch.cat([mixture.factors, eye.repeat(left, 1, 1)]),
    )


def _joint(mixture: Mixture, x: Tensor) -> Tensor:
    """log p(x, part) [N, M]."""
    columns = []
    for weight, mean, factor in zip(*mixture, strict=True):
        white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
        volume = factor.diagonal().log().sum() + x.shape[1] / 2 * math.log(2 * math.pi)
        columns.append(weight.log() - 0.5 * white.square().sum(0) - volume)
    return torch.stack(columns, dim=1)


def _step(mixture: Mixture, x: Tensor, eye: Tensor) -> Mixture:
    share = _joint(mixture, x).softmax(1)
    rows = share.sum(0)
    means = (share.T @ x) / rows.clamp(min=1e-9)[:, None]
    factors = []
    for part in range(len(rows)):
        away = x - means[part]
        spread = (share[:, part, None] * away).T @ away + PRIOR * eye
        factors.append(torch.linalg.cholesky(spread / (rows[part] + PRIOR)))
    return Mixture(rows / rows.sum(), means, torch.stack(factors))


def _whitened(mixture: Mixture) -> Mixture:
    """The same, moved and stretched to mean 0 and covariance I as a whole."""
    weights, means, factors = mixture
    means = means - weights @ means
    whole = torch.einsum("m,mij,mkj->ik", weights, factors, factors) + (weights[:, None] * means).T @ means
    inverse = torch.linalg.inv(torch.linalg.cholesky(whole))
    return Mixture(weights, means @ inverse.T, torch.stack([inverse @ factor for factor in factors]))
