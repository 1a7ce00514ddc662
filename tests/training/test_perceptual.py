"""LPIPS against torchmetrics' with the same weights, and what happens without weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import AlexNet_Weights, VGG16_Weights

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.perceptual import ALEXNET, LPIPS, VGG16, Backbone, load_lpips
from tests.likeness import Weights, made_up, torchmetrics_lpips, write_lpips

FEATURES, LINEAR = ALEXNET.files


@pytest.fixture(scope="module")
def weights() -> Weights:
    return made_up()


@pytest.fixture(scope="module")
def lpips(weights: Any) -> LPIPS:
    return LPIPS(*weights)


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("backbone", [ALEXNET, VGG16], ids=lambda backbone: backbone.name)
def test_equal_to_torchmetrics(backbone: Backbone, tmp_path: Path) -> None:
    folder = write_lpips(tmp_path / "weights", backbone)
    a, b = pictures(1), pictures(2)
    with torch.no_grad():
        expected = torchmetrics_lpips(folder, backbone)(a, b).flatten()
        torch.testing.assert_close(load_lpips(folder, backbone)(a, b), expected, rtol=1e-4, atol=1e-6)
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


@pytest.mark.parametrize(("backbone", "published"), [(ALEXNET, AlexNet_Weights), (VGG16, VGG16_Weights)])
def test_the_linear_layers_ship_with_the_package(
    backbone: Backbone, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "get_state_dict", lambda *args, **kwargs: made_up(backbone)[0])
    lpips = load_lpips(None, backbone)
    for i, width in enumerate(backbone.channels):
        layer = getattr(lpips, f"linear{i}")
        assert layer.shape == (1, width, 1, 1)
        assert (layer >= 0).all()  # the published weights are, by their training
    assert (lpips(pictures(1), pictures(2)) > 0).all()


def test_each_network_asks_for_files_of_its_own(tmp_path: Path, weights: Any) -> None:
    save_file(weights[0], tmp_path / FEATURES)
    save_file(weights[1], tmp_path / LINEAR)
    with pytest.raises(CelebgenError, match=r"has no vgg16-features\.safetensors; .* and vgg16-lpips-lin\.safetensors"):
        load_lpips(tmp_path, VGG16)
