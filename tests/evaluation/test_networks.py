"""Other networks than Inception: torch-fidelity's own features from small random weights that are read safely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import networks as module
from celebgen_cli.evaluation.features import probe
from celebgen_cli.evaluation.networks import load_network
from tests.command import Chain, invoke, one_sentence
from tests.evaluation.conftest import StubExtractor, write_dataset

Faces = tuple[np.ndarray, np.ndarray]


def pixels(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG16 with few channels, or it would have 528 MB."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(small_vgg().state_dict(), path)
    return path


def small_vgg() -> torch.nn.Module:
    import torchvision
    from torchvision.models.vgg import make_layers

    network = torchvision.models.VGG(make_layers([4, "M", 4, "M"]), num_classes=3, init_weights=True)
    network.classifier[0], network.classifier[3] = torch.nn.Linear(4 * 7 * 7, 8), torch.nn.Linear(8, 8)
    network.classifier[6] = torch.nn.Linear(8, 3)
    return network


def test_vgg_is_torch_fidelitys(vgg_file: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torchvision
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    monkeypatch.setattr(torchvision.models, "vgg16", small_vgg)
    plain = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(vgg_file))
    expected = plain(pixels(faces[0][:3]))[0].numpy()
    network = load_network(f"vgg16:{vgg_file}")
    assert (network.name, network.layer, network.dimensions) == ("vgg16", "fc2_relu", 8)
    np.testing.assert_allclose(network(faces[0][:3]), expected, rtol=1e-5, atol=1e-6)
    assert expected.std() > 0
    state = torch.load(vgg_file, weights_only=True)
    save_file({k: v for k, v in state.items() if k.startswith("features")}, tmp_path / "features.safetensors")
    with pytest.raises(CelebgenError, match="its classifier is missing"):
        load_network(f"vgg16:{tmp_path / 'features.safetensors'}")


def test_clip_is_torch_fidelitys(tmp_path: Path, faces: Faces) -> None:
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP, VisionTransformer

    torch.manual_seed(0)
    tower = VisionTransformer(input_resolution=32, patch_size=16, width=64, layers=2, heads=1, output_dim=12)
    state = {f"visual.{name}": part.half() for name, part in tower.state_dict().items()}
    state |= {"text_projection": torch.zeros(7, 12), "transformer.resblocks.0.ln_1.weight": torch.zeros(7)}
    save_file(state, tmp_path / "clip.safetensors")
    network = load_network(f"clip:{tmp_path / 'clip.safetensors'}")
    assert (network.layer, network.dimensions, network.name) == ("clip", 12, "clip 32 px, width 64")

    class Plain(FeatureExtractorCLIP):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.features_list, self.feature_extractor_internal_dtype = ["clip"], torch.float32
            self.model, self.resolution = torch.nn.Module(), 32
            self.model.visual = tower.half().float()

    with torch.no_grad():
        expected = Plain()(pixels(faces[0][:3]))[0].numpy()
    np.testing.assert_allclose(network(faces[0][:3]), expected, rtol=1e-4, atol=1e-5)
    assert expected.std(axis=0).max() > 0


def test_dinov2_is_torch_fidelitys_around_metas_weights(faces: Faces, tmp_path: Path) -> None:
    import timm
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    torch.manual_seed(0)
    small = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=14 * 37)
    with torch.no_grad():
        for part in small.parameters():
            part.copy_(torch.randn_like(part) * 0.05)
    metas = {**small.state_dict(), "mask_token": torch.zeros(1, 384)}
    torch.save(metas, tmp_path / "dinov2_vits14_pretrain.pth")
    network = load_network(f"dinov2:{tmp_path / 'dinov2_vits14_pretrain.pth'}")
    assert (network.name, network.layer, network.dimensions) == ("dinov2-vit-s-14", "dinov2", 384)

    # What Meta's forward pass does to positions of a 37 x 37 grid at 224 px, with its interpolate_offset of 0.1.
    square = metas["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    square = torch.nn.functional.interpolate(square, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    assert square.shape[-2:] == (16, 16)

    class Plain(FeatureExtractorDinoV2):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.features_list, self.feature_extractor_internal_dtype = ["dinov2"], torch.float32
            self.model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=224)
            positions = torch.cat([metas["pos_embed"][:, :1], square.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
            self.model.load_state_dict({**small.state_dict(), "pos_embed": positions})
            self.eval()

    with torch.no_grad():
        expected = Plain()(pixels(faces[0][:2]))[0].numpy()
    np.testing.assert_allclose(network(faces[0][:2]), expected, rtol=1e-4, atol=1e-5)
    assert len(probe(network)) == 16


def test_the_image_tower_of_a_run_of_train_clip(chain: Chain, tmp_path: Path, faces: Faces) -> None:
    """FD by a network that a user has without any download; statistics of it are not taken for Inception's."""
    data = write_dataset(tmp_path / "data", *faces)
    word, file = f"clip:{chain.clip}", tmp_path / "clip.safetensors"
    out = invoke("evaluate", "fd", f"{data}:valid", data, "--features", word)
    assert out.exit_code == 0, out.output
    assert abs(float(out.stdout.split()[1])) < 1e-3
    assert "floor      FD" in out.stdout
    assert "features   compact CLIP clip, step 20, layer image embedding" in out.stdout
    assert invoke("evaluate", "stats", data, "-o", file, "--network", word, "--quiet").exit_code == 0
    out = invoke("evaluate", "fd", data, file, "--features", word, "--quiet", "--json")
    assert out.exit_code == 0 and '"metric": "fd", "fd": ' in out.stdout and '"n_real": 30' in out.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("celebgen_cli.evaluation.compare.load_inception", lambda *args, **kwargs: StubExtractor())
        assert "different features" in one_sentence(invoke("evaluate", "fid", data, file), 1)


@pytest.mark.parametrize("word", ["resnet", "clip", "dinov2:", "vgg16:none.pth", "dinov2:none.pth"])
def test_words_that_name_no_network(word: str) -> None:
    with pytest.raises(UsageError):
        load_network(word)


@pytest.mark.parametrize("kind", ["vgg16", "clip", "dinov2"])
def test_weights_of_something_else(kind: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CelebgenError, match="does not hold this network's weights"):
        load_network(f"{kind}:{tmp_path / 'other.safetensors'}")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(CelebgenError, match="cannot be used as weights"):
        load_network(f"{kind}:{tmp_path / 'cut.pth'}")


def test_dinov2_that_cannot_be_fetched_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", unreachable)
    said: list[str] = []
    with pytest.raises(CelebgenError, match=r"could not be fetched \(no route to host\)"):
        load_network("dinov2:s", announce=said.append)
    assert len(said) == 1 and module.DINO_SIZES[384] == ("s", "small")
