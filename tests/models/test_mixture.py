"""A mixture of Gaussians: its density, what is fitted, and its moments."""

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from celebgen_cli.models.mixture import Mixture, fit_mixture


def white(x: Tensor) -> Tensor:
    x = x.double() - x.double().mean(0)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(x.T @ x / len(x)), x.T, upper=False).T


def clusters(count: int = 3000) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    which = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), count, replacement=True, generator=generator)
    places = torch.tensor([[0.0, 0.0, 0.0], [6.0, 0.0, 1.0], [0.0, 5.0, -4.0]])
    return places[which] + torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 0.5, 1.5])


def moments(mixture: Mixture) -> tuple[Tensor, Tensor]:
    weights, means, factors = mixture
    second = torch.einsum("m,mij,mkj->ik", weights, factors, factors)
    return weights @ means, second + torch.einsum("m,mi,mk->ik", weights, means, means)


def test_the_density_is_that_of_scipy() -> None:
    mixture, x = fit_mixture(white(clusters()), 3), torch.randn(20, 3, dtype=torch.float64)
    wanted = sum(
        float(weight) * scipy.stats.multivariate_normal(mean.numpy(), (factor @ factor.T).numpy()).pdf(x.numpy())
        for weight, mean, factor in zip(*mixture, strict=True)
    )
    np.testing.assert_allclose(mixture.log_density(x).exp().numpy(), wanted, rtol=1e-9)


def test_clusters_are_found() -> None:
    mixture = fit_mixture(white(clusters()), 3)
    np.testing.assert_allclose(mixture.weights.sort().values.numpy(), [0.1, 0.3, 0.6], atol=0.03)


def test_it_says_more_of_other_rows_than_one_gaussian() -> None:
    x = white(clusters(6000))
    seen, unseen = x[:3000], x[3000:]
    one, some = fit_mixture(seen, 1), fit_mixture(seen, 6)
    assert float(some.log_density(unseen).mean()) > float(one.log_density(unseen).mean()) + 0.5


def test_mean_and_covariance_are_those_of_what_is_white() -> None:
    for parts in (1, 5):
        mean, covariance = moments(fit_mixture(white(clusters()), parts))
        torch.testing.assert_close(mean, torch.zeros(3).double(), rtol=0, atol=1e-9)
        torch.testing.assert_close(covariance, torch.eye(3).double(), rtol=0, atol=1e-9)


def test_few_rows_are_left_to_few_parts() -> None:
    mixture = fit_mixture(white(clusters(20)), 4)
    assert mixture.weights.tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(mixture.factors, torch.eye(3).double().repeat(4, 1, 1))
