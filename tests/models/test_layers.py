"""Building blocks: embeddings, attention with masks, branches that start silent."""

import math

import pytest
import torch

from celebgen_cli.models.layers import (
    Attention,
    Gaussian,
    ResBlock,
    SpatialTransformer,
    TextFeatures,
    TransformerBlock,
    group_norm,
    timestep_embedding,
)
from tests.networks import features, randomise


def test_timestep_embedding_by_its_formula() -> None:
    out = timestep_embedding(torch.tensor([0, 1, 750]), 8)
    assert out.shape == (3, 8)
    for row, t in zip(out, (0, 1, 750), strict=True):
        for k in range(4):
            angle = t / 10_000 ** (k / 4)
            assert row[k] == pytest.approx(math.cos(angle), abs=1e-4)
            assert row[4 + k] == pytest.approx(math.sin(angle), abs=1e-4)


def test_every_timestep_has_an_embedding_of_its_own() -> None:
    out = timestep_embedding(torch.arange(1, 1001), 24).double()
    distance = torch.cdist(out, out) + 10 * torch.eye(1000)
    assert distance.min() > 1e-2


@pytest.mark.parametrize("channels", [4, 16, 24, 32, 56, 64, 96, 128, 160, 192, 256, 384])
def test_group_norm_has_at_least_four_channels_a_group(channels: int) -> None:
    norm = group_norm(channels)
    assert channels % norm.num_groups == 0
    assert norm.num_groups <= 32
    assert channels // norm.num_groups >= 4


def test_residual_branches_start_as_the_identity() -> None:
    x, text = torch.randn(2, 16, 4, 4), features(2, width=16)
    assert torch.equal(ResBlock(16, 16, 8)(x, torch.randn(2, 8)), x)
    assert torch.equal(SpatialTransformer(16, 16)(x, text), x)


def test_resblock_is_moved_by_its_condition() -> None:
    block = randomise(ResBlock(8, 16, 4))
    x = torch.randn(2, 8, 4, 4)
    out = block(x, torch.zeros(2, 4))
    assert out.shape == (2, 16, 4, 4)
    assert (out - block(x, torch.ones(2, 4))).abs().max() > 1e-2


@pytest.mark.parametrize("masked", [False, True])
def test_the_two_ways_to_attend_agree(masked: bool) -> None:
    attention = randomise(Attention(16, 2, 12))
    x, context = torch.randn(3, 5, 16), torch.randn(3, 7, 12)
    mask = torch.arange(7)[None] < torch.tensor([[1], [4], [7]]) if masked else None
    plain = attention(x, context, mask)  # with gradients: written out on the CPU
    with torch.no_grad():
        fused = attention(x, context, mask)
    torch.testing.assert_close(plain, fused, rtol=1e-4, atol=1e-5)


def test_attention_equals_torchs_own() -> None:
    attention = randomise(Attention(16, 4))
    reference = torch.nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([attention.q.weight, attention.kv.weight]))
        reference.out_proj.weight.copy_(attention.out.weight)
    x = torch.randn(2, 6, 16)
    torch.testing.assert_close(attention(x) - attention.out.bias, reference(x, x, x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradients", [False, True])
def test_perturbed_rows_attend_to_themselves_alone(gradients: bool) -> None:
    attention = randomise(Attention(16, 2))
    x = torch.randn(2, 5, 16)
    with torch.set_grad_enabled(gradients):
        out = attention(x, perturbed=torch.tensor([False, True]))
        torch.testing.assert_close(out[0], attention(x)[0])
        each = torch.cat([attention(x[1:, i : i + 1]) for i in range(5)], dim=1)  # a sequence of one has no other
    torch.testing.assert_close(out[1:], each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradients", [False, True])
def test_what_the_mask_hides_changes_nothing(gradients: bool) -> None:
    block = randomise(TransformerBlock(16, 2, 16))
    x, text = torch.randn(3, 4, 16), features(3, width=16)
    hidden = torch.where(text.mask[..., None], text.tokens, 50.0)
    seen = text.tokens.clone()
    seen[:, 0] += 1
    with torch.set_grad_enabled(gradients):
        out = block(x, text.tokens, text.mask)
        torch.testing.assert_close(block(x, hidden, text.mask), out)
        assert (block(x, seen, text.mask) - out).abs().max() > 1e-2


def test_spatial_transformer_treats_positions_alike() -> None:
    """Without position embeddings a permutation of the pixels permutes the result: H and W are not mixed up."""
    block = randomise(SpatialTransformer(8, 16)).eval()
    x, order = torch.randn(2, 8, 3, 5), torch.randperm(15, generator=torch.Generator().manual_seed(0))
    moved = x.flatten(2)[:, :, order].reshape(2, 8, 3, 5)
    expected = block(x, features(2, width=16)).flatten(2)[:, :, order].reshape(2, 8, 3, 5)
    torch.testing.assert_close(block(moved, features(2, width=16)), expected, rtol=1e-4, atol=1e-5)


def test_select_takes_rows_of_all_three() -> None:
    text = features(4, width=16)
    some = text.select(torch.tensor([2, 0]))
    for part, whole in zip(some, text, strict=True):
        assert torch.equal(part, whole[[2, 0]])


def test_gaussian_draws() -> None:
    g = Gaussian(torch.full((2, 3), 5.0), torch.full((2, 3), math.log(4.0)))
    assert torch.allclose(g.log_std, torch.full((2, 3), math.log(2.0)))
    assert torch.allclose(g.sample(torch.full((2, 3), -1.5)), torch.full((2, 3), 2.0))


@pytest.mark.parametrize("length", [1, 47, 48, 49])
def test_filled_texts_have_few_lengths_and_say_the_same(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    text = TextFeatures(
        torch.randn(2, length, 16, generator=generator), torch.ones(2, length, dtype=torch.bool),
        torch.randn(2, 8, generator=generator),
    )  # fmt: skip
    filled = text.filled(48)
    assert filled.tokens.shape == (2, 48 if length <= 48 else 96, 16)
    assert filled.mask.sum() == 2 * length
    block = TransformerBlock(32, 2, 16)
    for parameter in block.parameters():  # some begin as zeros, which would hide the text
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    x = torch.randn(2, 4, 32, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(block(x, filled.tokens, filled.mask), block(x, text.tokens, text.mask))
