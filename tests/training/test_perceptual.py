"""LPIPS against torchmetrics' with the same weights, and what happens without weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import AlexNet_Weights

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.perceptual import FEATURES, LINEAR, LPIPS, load_lpips

WIDTHS = (64, 192, 384, 256, 256)
SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


@pytest.fixture(scope="module")
def weights() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    features = {}
    for layer, shape in SHAPES.items():
        fan = shape[1] * shape[2] * shape[3]
        features[f"features.{layer}.weight"] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
        features[f"features.{layer}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator) for i, c in enumerate(WIDTHS)}
    return features, linear


@pytest.fixture(scope="module")
def lpips(weights: Any) -> LPIPS:
    return LPIPS(*weights)


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_equal_to_torchmetrics(lpips: LPIPS, weights: Any) -> None:
    from torchmetrics.functional.image.lpips import _LPIPS

    reference = _LPIPS(pretrained=False, net="alex", pnet_rand=True, eval_mode=True)
    state = reference.state_dict()
    features, linear = weights
    for name in state:
        kind = name.rsplit(".", 1)[1]
        if name.startswith("net.slice"):
            state[name] = features[f"features.{name.split('.')[2]}.{kind}"]
        elif name.startswith("lin") and name in linear:
            state[name] = linear[name]
        elif name.startswith("lins."):
            state[name] = linear[f"lin{name.split('.')[1]}.{name.split('.', 2)[2]}"]
    reference.load_state_dict(state)
    a, b = pictures(1), pictures(2)
    with torch.no_grad():
        expected = reference(a, b).flatten()
    torch.testing.assert_close(lpips(a, b), expected, rtol=1e-4, atol=1e-6)
    assert expected.std() > 0


def test_a_distance(lpips: LPIPS) -> None:
    a, b = pictures(1), pictures(2)
    assert lpips(a, a).abs().max() == 0
    torch.testing.assert_close(lpips(a, b), lpips(b, a))
    assert (lpips(a, b) > lpips(a, 0.9 * a + 0.1 * b)).all()
    assert lpips(a, b).shape == (3,)


def test_gradients_reach_the_picture_and_not_the_weights(lpips: LPIPS) -> None:
    a = pictures(1).requires_grad_()
    lpips(a, pictures(2)).sum().backward()
    assert a.grad is not None
    assert a.grad.abs().max() > 0
    assert not any(p.requires_grad for p in lpips.parameters())


def test_weights_from_a_folder(tmp_path: Path, weights: Any, lpips: LPIPS) -> None:
    save_file(weights[0], tmp_path / FEATURES)
    save_file(weights[1], tmp_path / LINEAR)
    a, b = pictures(1), pictures(2)
    torch.testing.assert_close(load_lpips(tmp_path)(a, b), lpips(a, b))


def test_folders_that_will_not_do(tmp_path: Path, weights: Any) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CelebgenError, match=r"has no alexnet-features\.safetensors; .* by --perceptual none"):
            load_lpips(folder)
    save_file(weights[0], tmp_path / FEATURES)
    with pytest.raises(CelebgenError, match=r"has no alexnet-lpips-lin\.safetensors; .* by --perceptual none"):
        load_lpips(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / LINEAR)
    with pytest.raises(CelebgenError, match=r"does not hold AlexNet's LPIPS weights .* by --perceptual none"):
        load_lpips(tmp_path)
    (tmp_path / LINEAR).write_bytes(b"cut")
    with pytest.raises(CelebgenError, match=r"alexnet-lpips-lin\.safetensors is truncated"):
        load_lpips(tmp_path)


def test_without_weights_and_network_the_way_out_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # nothing was downloaded before
    with pytest.raises(
        CelebgenError, match=r"cannot be fetched .* --perceptual-weights DIR .* --perceptual none"
    ) as caught:
        load_lpips(None)
    assert "\n" not in str(caught.value)


def test_the_linear_layers_ship_with_the_package(weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlexNet_Weights, "get_state_dict", lambda *args, **kwargs: weights[0])
    lpips = load_lpips(None)
    for i, width in enumerate(WIDTHS):
        layer = getattr(lpips, f"linear{i}")
        assert layer.shape == (1, width, 1, 1)
        assert (layer >= 0).all()  # the published weights are, by their training
    assert (lpips(pictures(1), pictures(2)) > 0).all()
