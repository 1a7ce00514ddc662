"""`celebgen export`: one folder that holds everything and depends on nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.pipeline import DEFAULTS, load_model
from tests.command import Chain, invoke, one_sentence


def test_what_the_chain_exported(chain: Chain) -> None:
    info = json.loads((chain.model / "model.json").read_text(encoding="utf-8"))
    assert (info["format"], info["format_version"], info["name"], info["storage"]) == (
        "celebgen-model",
        1,
        "model",
        "int8",
    )
    assert (info["crop"], info["image_size"], info["training"]["init"]) == ("face178", 32, "prior")
    assert info["defaults"] == {**DEFAULTS, "steps": 4}
    assert info["data"]["train_images"] == 42
    assert "non-commercial" in info["license"]
    assert str(chain.folder) not in json.dumps(info)  # nothing of the machine that trained it


def test_it_needs_nothing_else(chain: Chain, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(chain.model, tmp_path / "elsewhere"))
    assert np.array_equal(
        load_model(moved, "cpu").sample(["man"], [0]), load_model(chain.model, "cpu").sample(["man"], [0])
    )


@pytest.mark.parametrize(("storage", "bound"), [("int8", 8.0), ("fp16", 1.0)])
def test_storages_give_nearly_the_same_face(chain: Chain, tmp_path: Path, storage: str, bound: float) -> None:
    faces = []
    for kind in ("fp32", storage):
        out = invoke("export", chain.unet, "-o", tmp_path / kind, "--storage", kind, "--name", "n")
        assert (out.exit_code, out.stdout) == (0, f"{tmp_path / kind}\n"), out.stderr
        faces.append(load_model(tmp_path / kind, "cpu", "fp32").sample(["man", "woman"], [0, 1], steps=4).astype(float))
    assert 0 < np.abs(faces[0] - faces[1]).mean() < bound or storage == "fp16"
    assert np.abs(faces[0] - faces[1]).mean() < bound
    sizes = [sum(p.stat().st_size for p in (tmp_path / kind).iterdir()) for kind in ("fp32", storage)]
    assert sizes[1] < 0.7 * sizes[0]


def test_force(chain: Chain, tmp_path: Path) -> None:
    out = invoke(
        "export", chain.unet, "-o", tmp_path / "m", "--steps", 7, "--guidance", 2.5, "--sampler", "ddpm",
        "--spacing", "early", "--guidance-interval", 0.2, 0.9, "--pag",
    )  # fmt: skip
    assert out.exit_code == 0, out.stderr
    (tmp_path / "m" / "README.md").write_text("card", encoding="utf-8")
    assert "add --force to replace it" in one_sentence(invoke("export", chain.unet, "-o", tmp_path / "m"), 2)
    assert load_model(tmp_path / "m", "cpu").defaults == {
        "steps": 7, "guidance": 2.5, "sampler": "ddpm", "spacing": "early", "guidance_interval": [0.2, 0.9],
        "pag": True,
    }  # fmt: skip
    assert invoke("export", chain.unet, "-o", tmp_path / "m", "--force").exit_code == 0
    assert load_model(tmp_path / "m", "cpu").defaults["sampler"] == "ddim"
    assert (tmp_path / "m" / "README.md").read_text(encoding="utf-8") == "card"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_model_is_written_again_with_other_settings(chain: Chain, tmp_path: Path) -> None:
    model = Path(shutil.copytree(chain.model, tmp_path / "old"))
    info = json.loads((model / "model.json").read_text(encoding="utf-8"))
    (model / "model.json").write_text(json.dumps({**info, "measured": {"FID": {"value": 1}}}), encoding="utf-8")
    out = invoke("export", model, "-o", tmp_path / "new", "--guidance", 3, "--steps", 5)
    assert out.exit_code == 0, out.stderr
    new = json.loads((tmp_path / "new" / "model.json").read_text(encoding="utf-8"))
    assert new["defaults"] == {**DEFAULTS, "steps": 5, "guidance": 3}
    assert "measured" not in new  # nobody measured this one
    assert new["sha256"] == info["sha256"]  # 8 bit again is the same 8 bit
    same = ("training", "data", "schedule", "networks", "crop", "license")
    assert {key: new[key] for key in same} == {key: info[key] for key in same}


def test_reconstruction_of_the_exported_model(chain: Chain) -> None:
    out = invoke("evaluate", "reconstruction", chain.model, chain.dataset, "--json", "--quiet")
    assert out.exit_code == 0, out.stderr
    value = json.loads(out.stdout)
    assert value["n"] == 12
    assert 3 < value["psnr"] < 40


def test_a_model_is_never_lost(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a kill while it is replaced, nor by a file beside it that is in the way, nor where it is a link."""
    model = Path(shutil.copytree(chain.model, tmp_path / "model"))
    (model / "images").mkdir()
    (model / "images" / "own.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(model)
    out = invoke("export", chain.unet, "-o", tmp_path / "link", "--steps", 3, "--force")
    assert out.exit_code == 0, out.stderr
    assert (tmp_path / "link").is_symlink() and load_model(model, "cpu").defaults["steps"] == 3
    assert (model / "images" / "own.txt").read_text(encoding="utf-8") == "mine"
    model.rename(tmp_path / ".model.old")  # as a kill between the two renames leaves it
    assert load_model(model, "cpu").defaults["steps"] == 3
    from celebgen_cli.models import folder as module

    def full(made: Path, place: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "swap_in", full)
    assert "cannot write" in one_sentence(invoke("export", chain.unet, "-o", model, "--force"), 1)
    assert load_model(model, "cpu").defaults["steps"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model"]
    monkeypatch.undo()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("mine", encoding="utf-8")
    refused = invoke("export", chain.unet, "-o", tmp_path / "thesis", "--force")
    assert "is no model, so --force does not replace it" in one_sentence(refused, 2)


def test_a_run_whose_settings_are_gone(chain: Chain, tmp_path: Path) -> None:
    run = Path(shutil.copytree(chain.unet, tmp_path / "unet"))
    for name, damage in (
        ("data", {}), ("data", None), ("schedule", None), ("schedule", ["cosine"]), ("unet", {}), ("train", 3),
    ):  # fmt: skip
        config = json.loads((chain.unet / "config.json").read_text(encoding="utf-8"))
        (run / "config.json").write_text(json.dumps({**config, name: damage}), encoding="utf-8")
        one_sentence(invoke("export", run, "-o", tmp_path / "out"), 1)
        assert not (tmp_path / "out").exists()


def test_digests_that_are_none(chain: Chain, tmp_path: Path) -> None:
    model = Path(shutil.copytree(chain.model, tmp_path / "model"))
    info = json.loads((model / "model.json").read_text(encoding="utf-8"))
    for damage in (["a", "b"], float("nan"), "digest"):
        (model / "model.json").write_text(json.dumps({**info, "sha256": damage}), encoding="utf-8")
        said = one_sentence(invoke("sample", "man", "--model", model, "-o", tmp_path / "out"), 1)
        assert "has no digests by file under sha256" in said
