"""Weights in 8 bit: the error that rounding allows and no more."""

import pytest
import torch

from celebgen_cli.models.quantize import SCALE, pack, unpack


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-4, 2, 64)
    return {
        "conv.weight": torch.randn(64, 8, 3, 3, generator=generator) * spread[:, None, None, None],
        "linear.weight": torch.randn(64, 40, generator=generator) * spread[:, None],
        "bias": torch.randn(4096, generator=generator),
        "small": torch.randn(8, 8, generator=generator),
        "silent": torch.zeros(64, 64),
        "ids": torch.arange(5000, dtype=torch.int32),
    }


def test_int8_is_within_half_a_step_of_each_channel(tensors: dict[str, torch.Tensor]) -> None:
    packed = pack(tensors, "int8")
    full = unpack(packed)
    assert full.keys() == tensors.keys()
    for name in ("conv.weight", "linear.weight"):
        assert packed[name].dtype == torch.int8
        assert packed[name + SCALE].shape == (64,)
        error = (full[name] - tensors[name]).flatten(1).abs().amax(1)
        largest = tensors[name].flatten(1).abs().amax(1)
        assert (error <= largest / 254 * 1.001).all()
        assert error.max() > 0
        assert (packed[name].flatten(1).abs().amax(1) == 127).all()  # the whole range is used in each channel
    assert not full["silent"].any()
    assert (packed["silent" + SCALE] > 0).all()  # nothing is divided by zero


def test_small_and_whole_number_tensors_are_exact(tensors: dict[str, torch.Tensor]) -> None:
    for storage in ("int8", "fp16", "fp32"):
        full = unpack(pack(tensors, storage))
        assert torch.equal(full["small"], tensors["small"])
        assert torch.equal(full["ids"], tensors["ids"])
        assert full["ids"].dtype == torch.int32
    assert torch.equal(unpack(pack(tensors, "int8"))["bias"], tensors["bias"])


def test_packing_again_changes_nothing(tensors: dict[str, torch.Tensor]) -> None:
    once = pack(tensors, "int8")
    twice = pack(unpack(once), "int8")
    for name in tensors:
        assert torch.equal(once[name], twice[name]), name


def test_half_and_full_precision(tensors: dict[str, torch.Tensor]) -> None:
    half, full = unpack(pack(tensors, "fp16")), unpack(pack(tensors, "fp32"))
    for name, tensor in tensors.items():
        assert torch.equal(full[name], tensor)
        torch.testing.assert_close(half[name], tensor, rtol=1e-3, atol=1e-7)
        assert half[name].dtype == tensor.dtype
    assert pack(tensors, "fp16")["conv.weight"].dtype == torch.float16


def test_eight_bit_is_a_quarter(tensors: dict[str, torch.Tensor]) -> None:
    def size(packed: dict[str, torch.Tensor]) -> int:
        return sum(t.nbytes for name, t in packed.items() if name.startswith("conv.weight"))

    assert size(pack(tensors, "int8")) < 0.27 * size(pack(tensors, "fp32"))
