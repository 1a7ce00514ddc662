"""Whether networks are compiled, and whether activations are kept, changes time and memory and no figure."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from celebgen_cli.errors import CelebgenError
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.layers import Block
from celebgen_cli.models.presets import tiny
from celebgen_cli.training import checkpoints, compiling
from celebgen_cli.training.compiling import callable_networks, recompute
from celebgen_cli.training.fitting import kept_bytes
from tests.networks import features, tiny_cvae, tiny_unet
from tests.training.test_engine import assert_equal_runs, metrics
from tests.training.toy import CONFIG, Toy, trainer

SHORT = replace(CONFIG, steps=10, checkpoint_every=5)


def gradients(network: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def unet_loss(network: nn.Module) -> torch.Tensor:
    text, generator = features(3), torch.Generator().manual_seed(5)
    u = torch.randn(3, 4, 8, 8, generator=generator)
    p = tiny_cvae().prior(text)
    return network(u, torch.tensor([1, 400, 1000]), text, p).square().sum()  # type: ignore[no-any-return]


def cvae_loss(network: nn.Module) -> torch.Tensor:
    assert isinstance(network, CVAE)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    q = network.encode(images, features(2))
    return network.decode(q.mean, features(2)).square().mean() + network.prior(features(2)).mean.square().mean()


@pytest.mark.parametrize("name", ["unet", "cvae"])
def test_activations_computed_again_are_the_same(name: str) -> None:
    network, loss = {"unet": (tiny_unet(), unet_loss), "cvae": (tiny_cvae(), cvae_loss)}[name]
    plain, memory = gradients(network, loss(network)), kept_bytes(lambda: loss(network))
    recompute(network)
    assert any(isinstance(part, Block) and part.recompute for part in network.modules())
    again = gradients(network, loss(network))
    assert plain.keys() == again.keys()
    assert plain
    assert all(torch.equal(plain[key], again[key]) for key in plain)
    assert kept_bytes(lambda: loss(network)) < 0.75 * memory
    with torch.no_grad():
        assert float(loss(network)) == pytest.approx(float(loss(network)))


def test_the_average_is_drawn_with_as_before(tmp_path: Path) -> None:
    """Only the network that is trained is changed."""

    class Holder(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.module.add_module("block", tiny_unet().mid[0])  # type: ignore[arg-type]

    made = trainer(tmp_path, replace(SHORT, checkpoint_activations=True), task=Holder())
    assert made.task.module.block.recompute is True  # type: ignore[union-attr]
    assert made.ema.module.block.recompute is False  # type: ignore[union-attr]


def test_what_is_called() -> None:
    cvae, unet = CVAE(tiny().cvae), tiny_unet()
    assert callable_networks(unet) == [unet]
    assert callable_networks(cvae) == [cvae.encoder, cvae.prior, cvae.decoder]


def test_a_compiled_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []

    def backend(graph, inputs):  # type: ignore[no-untyped-def]
        called.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(compiling, "OPTIONS", {"backend": backend})
    said: list[str] = []
    plain = trainer(tmp_path / "plain", SHORT)
    plain.train()
    compiled = trainer(tmp_path / "compiled", replace(SHORT, compile=True), warn=said.append)
    compiled.train()
    assert called
    assert said == []
    assert_equal_runs(plain, compiled)
    again = trainer(tmp_path / "compiled", replace(SHORT, steps=12), resume=True)  # and goes on without
    again.train()
    assert again.step == 12


def test_a_compiler_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph, inputs):  # type: ignore[no-untyped-def]
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(compiling, "OPTIONS", {"backend": broken})
    said: list[str] = []
    plain = trainer(tmp_path / "plain", SHORT)
    plain.train()
    trained = trainer(tmp_path / "run", replace(SHORT, compile=True), warn=said.append)
    trained.train()
    assert len(said) == 1
    assert "\n" not in said[0]
    assert said[0].startswith("torch.compile does not work here (")
    assert "no C++ compiler" in said[0]
    assert_equal_runs(plain, trained)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "plain")


def test_a_fault_of_the_loss_is_not_the_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(Toy):
        def loss(self, step, part=None):  # type: ignore[no-untyped-def]
            raise CelebgenError("the data is gone")

    with pytest.raises(CelebgenError, match="the data is gone"):
        trainer(tmp_path, replace(SHORT, compile=True), task=Faulty()).train()


def test_moments_lie_as_their_weights_do() -> None:
    """Fused optimizers go through memory in order, and weights on a GPU are channels-last."""

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network, torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        network(torch.linspace(-1, 1, 400).reshape(1, 4, 10, 10)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    network, optimizer = made()
    other, second = made()
    step(network, optimizer)
    other.load_state_dict(network.state_dict())
    packed = checkpoints.pack_optimizer(optimizer)
    contiguous = {name: value.clone(memory_format=torch.contiguous_format) for name, value in packed.items()}
    checkpoints.unpack_optimizer(second, contiguous)
    for parameter in other.parameters():
        assert second.state[parameter]["exp_avg"].stride() == parameter.stride()
    step(network, optimizer)
    step(other, second)
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
