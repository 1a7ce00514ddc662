"""The Inception features equal torch-fidelity's, and its weights are read without running anything."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.features import find_inception_weights, load_inception, probe


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the shape of the network, with batch statistics that keep activations in range."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    folder = tmp_path_factory.mktemp("weights")
    rng = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = _shapes(module)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=rng)
        elif name.endswith(("bn.weight", "bn.bias", "running_mean")):
            state[name] = (1.0 if name.endswith("bn.weight") else 0.0) + 0.1 * torch.randn(shape, generator=rng)
        elif name.startswith("fc."):
            state[name] = torch.full(shape, float("nan"))
        else:
            fan_in = int(np.prod(shape[1:]))
            state[name] = torch.randn(shape, generator=rng) * (2 / fan_in) ** 0.5
    torch.save(state, folder / "inception.pth")
    return folder / "inception.pth"


def _shapes(module: object) -> dict[str, torch.Size]:
    """Names and shapes of the network's tensors, from a copy of it that is never filled."""
    shapes: dict[str, torch.Size] = {}

    class Empty(module.FeatureExtractorInceptionV3):  # type: ignore[name-defined, misc]
        def load_state_dict(self, state_dict: dict, *args: object, **kwargs: object) -> None:
            shapes.update({name: tensor.shape for name, tensor in self.state_dict().items()})

    import io

    buffer = io.BytesIO()
    torch.save({}, buffer)
    buffer.seek(0)
    Empty("shapes", ["2048"], feature_extractor_weights_path=buffer)
    return shapes


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, size=(3, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def test_features_are_torch_fidelitys(weights: Path, images: np.ndarray) -> None:
    from torch_fidelity import FeatureExtractorInceptionV3

    plain = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))
    expected = plain(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))[0].numpy()
    inception = load_inception(weights)
    got = inception(images)
    assert got.shape == (3, 2048) and got.dtype == np.float32
    assert np.linalg.norm(got - expected) < 2e-5 * np.linalg.norm(expected)
    inception.batch_size = 2
    np.testing.assert_allclose(inception(images), got, rtol=1e-4, atol=1e-4 * np.abs(got).max())
    assert len(probe(inception)) == 16
    with pytest.raises(ValueError, match="uint8"):
        inception(images.astype(np.float32))


def test_safetensors_without_the_classifier_are_the_same_network(weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = torch.load(weights, weights_only=True)
    save_file({k: v for k, v in state.items() if not k.startswith("fc.")}, tmp_path / "inception.safetensors")
    assert load_inception(tmp_path / "inception.safetensors").weights_sha256 == load_inception(weights).weights_sha256


class Trap:
    """A pickle of this creates a file where it is opened by an unrestricted loader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_with_code_is_not_run(tmp_path: Path, save: Callable[[object, Path], object]) -> None:
    save({"fc.weight": torch.zeros(1), "x": Trap(tmp_path / "sprung")}, tmp_path / "evil.pth")
    with pytest.raises(CelebgenError, match="evil.pth cannot be used"):
        load_inception(tmp_path / "evil.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("value", [{"conv.weight": torch.zeros(2, 3)}, [torch.zeros(3)], {"a": 1}])
def test_other_files_are_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(CelebgenError, match="other.pth cannot be used as Inception weights"):
        load_inception(tmp_path / "other.pth")


def test_truncated_weights(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(CelebgenError, match="damaged"):
        load_inception(tmp_path / "cut.pth")


def test_where_weights_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_inception_weights() is None
    hub = tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    hub.parent.mkdir(parents=True)
    hub.touch()
    assert find_inception_weights() == hub
    (tmp_path / "named.pth").touch()
    monkeypatch.setenv("CELEBGEN_INCEPTION_WEIGHTS", str(tmp_path / "named.pth"))
    assert find_inception_weights() == tmp_path / "named.pth"
    monkeypatch.setenv("CELEBGEN_INCEPTION_WEIGHTS", str(tmp_path / "none.pth"))
    with pytest.raises(CelebgenError, match=r"\$CELEBGEN_INCEPTION_WEIGHTS"):
        find_inception_weights()
    with pytest.raises(CelebgenError, match="--inception-weights"):
        find_inception_weights(tmp_path / "nor-this.pth")


def test_without_weights_and_network_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request
    from urllib.error import URLError

    def unreachable(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    said: list[str] = []
    with pytest.raises(CelebgenError, match="no route to host.*--inception-weights") as caught:
        load_inception(announce=said.append)
    assert "\n" not in str(caught.value) and len(said) == 1
    assert not list((tmp_path / "cache").glob("*"))


def test_a_download_with_another_checksum_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: io.BytesIO(b"<html>quota</html>"))
    with pytest.raises(CelebgenError, match="another SHA-256"):
        load_inception()
    assert not list((tmp_path / "cache").glob("*"))
