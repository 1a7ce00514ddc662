"""What can be read from a run: averaged weights, frozen neighbours, the refitted prior."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models.registry import BOX
from celebgen_cli.training.checkpoints import load_tensors, newest_checkpoint
from celebgen_cli.training.runs import averaged_weights, load_components, load_text, read_config
from tests.command import Chain


def same(state: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def test_averages_and_not_the_last_weights(chain: Chain) -> None:
    checkpoint, _ = newest_checkpoint(chain.unet / "checkpoints")
    assert checkpoint is not None
    unet = load_components(chain.unet, ("unet",)).unet
    assert unet is not None
    assert same(unet.state_dict(), checkpoint.ema)
    assert same(averaged_weights(chain.unet)[1], checkpoint.ema)
    assert not same(unet.state_dict(), checkpoint.weights)


def test_the_cvae_has_its_refitted_prior(chain: Chain) -> None:
    cvae = load_components(chain.vae, ("cvae",)).cvae
    assert cvae is not None
    assert same(cvae.prior.state_dict(), load_tensors(chain.vae / "prior" / "best.safetensors"))
    _, trained = averaged_weights(chain.vae)
    assert same(cvae.encoder.state_dict(), {k[8:]: v for k, v in trained.items() if k.startswith("encoder.")})
    assert not same(cvae.prior.state_dict(), {k[6:]: v for k, v in trained.items() if k.startswith("prior.")})


def test_frozen_networks_are_those_of_the_runs_before(chain: Chain) -> None:
    texts = [load_components(run, ("text",)).text for run in (chain.clip, chain.vae, chain.unet)]
    cvaes = [load_components(run, ("cvae",)).cvae for run in (chain.vae, chain.unet)]
    for parts in (texts, cvaes):
        for part in parts[1:]:
            assert same(part.state_dict(), parts[0].state_dict())  # type: ignore[union-attr]


def test_a_run_says_what_it_was_trained_with(chain: Chain) -> None:
    config = read_config(chain.unet)
    assert config["kind"] == "diffusion"
    assert (config["preset"], config["train"]["steps"], config["train"]["seed"]) == ("tiny", 40, 0)
    assert (config["data"]["crop"], config["data"]["size"], config["data"]["train_images"]) == ("face178", 32, 42)
    assert config["schedule"]["kind"] == "cosine"
    assert json.loads((chain.clip / "report.json").read_text(encoding="utf-8"))["probe_f1"] >= 0


@pytest.mark.parametrize(("run", "want"), [("clip", "cvae"), ("clip", "unet"), ("vae", "unet")])
def test_what_a_run_does_not_have(chain: Chain, run: str, want: str) -> None:
    with pytest.raises(
        CelebgenError, match=rf"run of kind '{'clip' if run == 'clip' else 'vae'}' and has no {want} network"
    ):
        load_components(chain.folder / run, (want,))


def test_a_folder_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match=r"neither a run \(config\.json\) nor a model \(model\.json\)"):
        load_components(tmp_path, ("text",))
    (tmp_path / "config.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(CelebgenError, match=r"is not of a celebgen run of format version 1"):
        read_config(tmp_path)


def test_a_run_without_a_checkpoint(chain: Chain, tmp_path: Path) -> None:
    shutil.copy(chain.clip / "config.json", tmp_path)
    with pytest.raises(CelebgenError, match=r"has no whole checkpoint yet"):
        load_components(tmp_path, ("text",))


def test_text_encoders_by_name(chain: Chain) -> None:
    from_run, from_model = load_text(str(chain.clip)), load_text(str(chain.model))
    assert from_run.pooled_width == from_model.pooled_width == 16
    assert not any(p.requires_grad for p in from_run.parameters())
    with pytest.raises(UsageError, match=r"--text .*nowhere does not exist; give a run, a model, open_clip:NAME/TAG"):
        load_text(str(chain.folder / "nowhere"))
    in_the_box = load_components(BOX, ("text",)).text
    assert in_the_box is not None and same(load_text("celebgen-base128").state_dict(), in_the_box.state_dict())


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("unet", "unet", {"widths": [8]}), ("vae", "cvae", {}), ("clip", "clip", None), ("unet", "unet", {"blocks": "1"})],
)
def test_a_config_that_does_not_fit_its_checkpoints(
    chain: Chain, tmp_path: Path, name: str, key: str, value: dict[str, Any] | None
) -> None:
    run = Path(shutil.copytree(chain.folder / name, tmp_path / name))
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config[key] = None if value is None else {**config[key], **value} if value else {}
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    want = {"unet": ("unet",), "vae": ("cvae",), "clip": ("text",)}[name]
    with pytest.raises(CelebgenError, match=r"config\.json does not fit the checkpoints beside it"):
        load_components(run, want)
