"""The model folder: what is saved comes back, and what is damaged is named."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models import folder as module
from celebgen_cli.models.folder import Components, load_model, read_info, save_model
from celebgen_cli.models.layers import Gaussian
from tests.networks import features, tiny_cvae, tiny_text, tiny_unet


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    """A model folder of one's own to damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def edit(folder: Path, **changes: Any) -> None:
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for key, value in changes.items():
        place, _, last = key.rpartition("__")
        target = info
        for part in filter(None, place.split("__")):
            target = target[part]
        target[last] = value
    (folder / "model.json").write_text(json.dumps(info), encoding="utf-8")


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_round_trip_in_full_precision(model_folder: Path) -> None:
    parts = load_model(model_folder, verify=True)
    for loaded, made in ((parts.text, tiny_text()), (parts.cvae, tiny_cvae()), (parts.unet, tiny_unet())):
        assert loaded is not None
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        assert loaded.state_dict().keys() == made.state_dict().keys()
        for name, tensor in made.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
    assert parts.unet is not None
    assert parts.unet.config == tiny_unet().config
    assert parts.info["name"] == "tiny-random"
    assert parts.info["storage"] == "fp32"


def test_round_trip_in_eight_bit(tmp_path: Path, model_folder: Path) -> None:
    save_model(load_model(model_folder), tmp_path / "small", "int8")
    sizes = [
        sum(p.stat().st_size for p in folder.glob("*.safetensors")) for folder in (tmp_path / "small", model_folder)
    ]
    assert sizes[0] < 0.5 * sizes[1]
    unet, exact = load_model(tmp_path / "small", ("unet",)).unet, tiny_unet()
    assert unet is not None
    generator = torch.Generator().manual_seed(0)
    u, mean, logvar = torch.randn(3, 2, 4, 8, 8, generator=generator)
    inputs = (u, torch.tensor([10, 900]), features(2), Gaussian(mean, logvar))
    with torch.no_grad():
        there, here = unet(*inputs), exact(*inputs)
    assert 0 < (there - here).abs().mean() < 0.05 * here.std()


def test_what_is_written(model_folder: Path) -> None:
    assert listing(model_folder) == ["cvae.safetensors", "model.json", "text_encoder.safetensors", "unet.safetensors"]
    info = read_info(model_folder)
    assert (info["format"], info["format_version"]) == ("celebgen-model", 1)
    assert set(info["sha256"]) == {"cvae.safetensors", "text_encoder.safetensors", "unet.safetensors"}
    assert info["networks"]["text"]["kind"] == "compact"


@pytest.mark.parametrize(
    ("key", "value"),
    [("text__config__heads", 0), ("text__config__heads", 2.5), ("cvae__prior_log_std_min", None), ("unet__blocks", "")],
)
def test_sizes_of_a_wrong_kind(copy: Path, key: str, value: Any) -> None:
    edit(copy, **{f"networks__{key}": value})
    with pytest.raises(CelebgenError, match=r"does not fit the configuration in model\.json"):
        load_model(copy)


def test_parts_can_be_loaded_alone(copy: Path) -> None:
    (copy / "unet.safetensors").unlink()
    parts = load_model(copy, ("text", "cvae"))
    assert parts.unet is None
    assert parts.cvae is not None


def test_parts_that_were_never_there(tmp_path: Path) -> None:
    save_model(Components(text=tiny_text()), tmp_path / "text")
    with pytest.raises(CelebgenError, match=r"has no cvae network"):
        load_model(tmp_path / "text")


@pytest.mark.parametrize("name", ["text_encoder", "cvae", "unet"])
def test_a_missing_file(copy: Path, name: str) -> None:
    (copy / f"{name}.safetensors").unlink()
    with pytest.raises(CelebgenError, match=rf"{name}\.safetensors is missing; fetch or export the model again"):
        load_model(copy)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file(copy: Path, keep: float) -> None:
    path = copy / "unet.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(CelebgenError, match=r"unet\.safetensors is truncated or damaged"):
        load_model(copy)


def test_an_altered_file_is_found_when_asked(copy: Path) -> None:
    path = copy / "cvae.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    load_model(copy)
    with pytest.raises(CelebgenError, match=r"cvae\.safetensors was altered since it was written"):
        load_model(copy, verify=True)


def test_a_file_of_another_network(copy: Path) -> None:
    shutil.copy(copy / "cvae.safetensors", copy / "unet.safetensors")
    with pytest.raises(CelebgenError, match=r"unet\.safetensors does not fit the configuration in model\.json"):
        load_model(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"networks__unet__widths": [24, 64]},
        {"networks__unet__widths": []},
        {"networks__unet__colour": "red"},
        {"networks__cvae__latent_channels": 8},
        {"networks__cvae__decoder_widths": [24]},
        {"networks__cvae__image_size": "large"},
        {"networks__text__config": {}},
        {"networks__text": "compact"},
        {"networks__text": {}},
        {"networks": "none"},
        {"networks": {}},
    ],
    ids=str,
)
def test_an_altered_configuration(copy: Path, change: dict[str, Any]) -> None:
    edit(copy, **change)
    with pytest.raises(CelebgenError, match=r"model") as caught:
        load_model(copy)
    assert "\n" not in str(caught.value)


def test_another_version(copy: Path) -> None:
    edit(copy, format_version=2)
    with pytest.raises(CelebgenError, match=r"format version 2, and this celebgen reads 1"):
        load_model(copy)


def test_places_without_a_model(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(CelebgenError, match=r"no model folder .*nowhere; check --model"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CelebgenError, match=r"it has no model\.json"):
        load_model(tmp_path)
    for content, words in (
        ("{", "cannot be read as JSON"),
        ("[]", "does not describe a celebgen model"),
        ("{}", "does not"),
    ):
        (copy / "model.json").write_text(content, encoding="utf-8")
        with pytest.raises(CelebgenError, match=words):
            load_model(copy)


def test_a_full_folder_needs_force(copy: Path) -> None:
    before = (copy / "unet.safetensors").read_bytes()
    (copy / "README.md").write_text("a card written by hand", encoding="utf-8")
    parts = Components(tiny_text(), tiny_cvae(), tiny_unet(seed=9))
    with pytest.raises(UsageError, match=r"is not empty; choose another folder, or add --force"):
        save_model(parts, copy)
    assert (copy / "unet.safetensors").read_bytes() == before
    save_model(parts, copy, force=True)
    assert (copy / "unet.safetensors").read_bytes() != before
    assert (copy / "README.md").read_text(encoding="utf-8") == "a card written by hand"
    load_model(copy, verify=True)
    assert listing(copy.parent) == ["model"]


def test_a_full_disk_leaves_the_old_model(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {p.name: p.read_bytes() for p in copy.iterdir()}
    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(CelebgenError, match=r"No space left on device.*free some space"):
        save_model(Components(cvae=tiny_cvae()), copy, force=True)
    assert {p.name: p.read_bytes() for p in copy.iterdir()} == before
    with pytest.raises(CelebgenError, match=r"No space left"):
        save_model(Components(cvae=tiny_cvae()), copy.parent / "new")
    assert listing(copy.parent) == ["model"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CelebgenError, match=r"cannot write"):
        save_model(Components(cvae=tiny_cvae()), tmp_path / "file" / "model")
