from __future__ import annotations

import pytest
import torch

from celebgen_cli.diffusion.noise import _mix32, image_noise
from celebgen_cli.errors import UsageError

SHAPE = (4, 8, 8)


def test_rows_do_not_depend_on_batch_or_order() -> None:
    together = image_noise([3, 0, 2**63, 7], SHAPE, 5)
    assert together.shape == (4, *SHAPE)
    for row, seed in enumerate([3, 0, 2**63, 7]):
        assert torch.equal(together[row], image_noise([seed], SHAPE, 5)[0])
    assert torch.equal(together.flip(0), image_noise([7, 2**63, 0, 3], SHAPE, 5))


def test_it_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    image_noise([1, 2], SHAPE)
    assert torch.equal(torch.randn(3), expected)


def test_seeds_and_indices_give_noise_of_their_own() -> None:
    seeds = [0, 1, 2, 2**32, 2**32 + 1, 2**64 - 1]
    draws = torch.cat([image_noise(seeds, SHAPE, index) for index in range(4)]).flatten(1)
    correlation = torch.corrcoef(draws) - torch.eye(len(draws))
    assert correlation.abs().max() < 0.3  # 256 values: 0.0625 is one standard deviation


def test_it_is_standard_normal() -> None:
    draws = image_noise(range(200), SHAPE)
    assert abs(draws.mean().item()) < 0.02
    assert abs(draws.std().item() - 1) < 0.02
    assert draws.amax() > 3.5


def test_dtype_is_a_rounding_of_the_same_values() -> None:
    assert torch.equal(image_noise([1], SHAPE, dtype=torch.float16), image_noise([1], SHAPE).half())
    assert image_noise([], SHAPE).shape == (0, *SHAPE)


def test_seed_mixing_is_one_to_one() -> None:
    # The mix is a composition of invertible steps; on a sample of inputs no two may meet.
    inputs = [*range(100_000), *range(2**32 - 100_000, 2**32)]
    outputs = {_mix32(value) for value in inputs}
    assert len(outputs) == len(inputs)
    assert max(outputs) < 2**32


def test_values_out_of_range() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(UsageError, match="seed"):
            image_noise([seed], SHAPE)
    with pytest.raises(ValueError, match="index"):
        image_noise([0], SHAPE, -1)
