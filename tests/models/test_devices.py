"""Which device and which precision, with hardware that is pretended."""

from contextlib import nullcontext

import pytest
import torch

from celebgen_cli.errors import UsageError
from celebgen_cli.models import devices
from celebgen_cli.models.devices import autocast, choose_device, memory_format, resolve_precision, sent

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_there_is(cuda: bool, mps: bool, best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device(None) == choose_device("auto") == torch.device(best)


def test_the_named_device() -> None:
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "nonsense", ""])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=rf"there is no device '{name}' here; use cuda, mps or cpu"):
        choose_device(name)


def test_precision_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.ones(2, 2), torch.ones(2, 2)
    for wanted, fast, dtype in (
        ("bf16", False, torch.bfloat16), ("fp32", True, torch.float32), ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
    ):  # fmt: skip
        monkeypatch.setattr(devices, "_has_fast_bf16", lambda device, fast=fast: fast)
        context = autocast(CPU, wanted)
        for _ in range(2):  # it can be entered as often as one likes
            with context():
                assert (a @ b).dtype == dtype
    assert autocast(CPU, "fp32") is nullcontext


@pytest.mark.parametrize(
    ("device", "fast", "wanted", "precision"),
    [
        ("cuda", True, "auto", "bf16"), ("cuda", False, "auto", "fp16"), ("cuda", True, "fp16", "fp16"),
        ("cpu", True, "auto", "bf16"), ("cpu", False, "auto", "fp32"), ("mps", False, "auto", "fp32"),
        ("mps", False, "fp32", "fp32"), ("cpu", True, "fp32", "fp32"),
    ],
)  # fmt: skip
def test_what_auto_stands_for(
    device: str, fast: bool, wanted: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_has_fast_bf16", lambda device: fast)
    assert resolve_precision(torch.device(device), wanted) == precision


def test_precisions_that_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"no precision 'fp8'; choose one of auto, fp32, bf16, fp16"):
        autocast(CPU, "fp8")
    with pytest.raises(UsageError, match=r"fp16 needs a CUDA device; on cpu use bf16 or fp32"):
        autocast(CPU, "fp16")


def test_what_is_sent_is_the_same() -> None:
    x = torch.arange(6)
    assert sent(x, CPU) is x
    assert memory_format(CPU) == torch.contiguous_format
    assert memory_format(torch.device("cuda")) == torch.channels_last


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_what_was_sent() -> None:
    x = torch.arange(6)
    there = sent(x, torch.device("cuda"))
    assert there.is_cuda
    assert torch.equal(there.cpu(), x)
    assert sent(there, torch.device("cuda")) is there
