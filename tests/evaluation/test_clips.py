"""Which CLIP scores: runs of train-clip, open_clip's folders, what is at hand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import clips as module
from celebgen_cli.evaluation.clips import conditions, find_clip, load_clip
from celebgen_cli.models.cvae import to_float
from celebgen_cli.models.presets import tiny
from celebgen_cli.pipeline import load_model
from celebgen_cli.training.clip import CompactCLIP
from celebgen_cli.training.runs import averaged_weights, load_text
from tests.command import Chain
from tests.networks import randomise

Faces = tuple[np.ndarray, np.ndarray]
PROMPTS = ["smiling woman with blond hair", "an old man"]


@pytest.fixture(scope="module")
def open_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompactCLIP]:
    """A tiny open_clip model as open_clip keeps one in a folder."""
    sizes, folder = tiny().clip, tmp_path_factory.mktemp("open_clip")
    model = CompactCLIP(sizes).eval()
    randomise(model)
    vision = {"layers": list(sizes.image_layers), "width": sizes.image_width, "image_size": sizes.image_size}
    words = {"context_length": sizes.context_length, "width": sizes.width, "heads": sizes.heads,
             "layers": sizes.layers, "vocab_size": 49408}  # fmt: skip
    prepare = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "size": sizes.image_size}
    network = {"embed_dim": sizes.embed_dim, "vision_cfg": vision, "text_cfg": words}
    config = {"model_cfg": network, "preprocess_cfg": prepare}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {name: part.contiguous() for name, part in model.clip.state_dict().items() if name != "logit_bias"}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder, model


def test_a_run(chain: Chain, faces: Faces) -> None:
    clip = load_clip(str(chain.clip), "cpu")
    whole = CompactCLIP(tiny().clip)
    whole.load_state_dict(averaged_weights(chain.clip)[1])
    with torch.no_grad():
        images = whole.eval().clip.encode_image(to_float(torch.from_numpy(faces[0][:5])), normalize=True)
        texts = torch.nn.functional.normalize(load_text(str(chain.clip))(PROMPTS).pooled, dim=-1)
    np.testing.assert_allclose(clip(faces[0][:5]), images.numpy(), atol=1e-6)
    np.testing.assert_allclose(clip.texts(PROMPTS), texts.numpy(), atol=1e-6)
    assert clip.dimensions == 16 and clip.name == "compact CLIP clip, step 20" and len(clip.sha256) == 64
    assert conditions(clip, load_model(chain.model))  # in 8 bit there


def test_another_clip_does_not_condition_the_model(chain: Chain, model_folder: Path) -> None:
    assert not conditions(load_clip(str(chain.clip)), load_model(model_folder))


def test_a_folder_of_open_clip(open_clip_folder: tuple[Path, CompactCLIP], faces: Faces, model_folder: Path) -> None:
    folder, model = open_clip_folder
    clip = load_clip(f"local-dir:{folder}")
    pixels = torch.from_numpy(faces[0][:3]).permute(0, 3, 1, 2).float() / 255
    shift, scale = (torch.tensor(values)[None, :, None, None] for values in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    with torch.no_grad():
        expected = model.clip.encode_image((pixels - shift) / scale, normalize=True)
    np.testing.assert_allclose(clip(faces[0][:3]), expected.numpy(), atol=1e-5)
    assert np.linalg.norm(clip.texts(PROMPTS), axis=1) == pytest.approx(1, abs=1e-6)
    assert clip.name == f"open_clip local-dir:{folder.name}" and not conditions(clip, load_model(model_folder))


def test_one_that_does_not_condition_the_model_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Conditioned:
        class text:
            source = "A/x"

    monkeypatch.setattr(module, "load_clip", lambda word, device: word)
    monkeypatch.delenv(module.CLIP_VARIABLE, raising=False)
    monkeypatch.setattr(module, "fetched", lambda: ["A/x", "B/y"])
    assert find_clip(Conditioned()) == "B/y"  # type: ignore[arg-type,comparison-overlap]
    monkeypatch.setattr(module, "fetched", lambda: ["A/x"])
    assert find_clip(Conditioned()) == "A/x"  # type: ignore[arg-type,comparison-overlap]
    monkeypatch.setenv(module.CLIP_VARIABLE, "C/z")
    assert (find_clip(None), find_clip(None, "D/w")) == ("C/z", "D/w")  # type: ignore[comparison-overlap]
    monkeypatch.delenv(module.CLIP_VARIABLE)
    monkeypatch.setattr(module, "fetched", lambda: [])
    with pytest.raises(UsageError, match=r"no CLIP is at hand.*no image tower.*--clip"):
        find_clip(None)


def test_nothing_is_at_hand_in_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    found = huggingface_hub.try_to_load_from_cache
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repo, file: found(repo, file, cache_dir=tmp_path / "hub")
    )
    assert module.fetched() == []
    snapshot = tmp_path / "hub" / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text("abc", encoding="utf-8")
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "snapshots" / "abc" / "open_clip_model.safetensors").write_bytes(b"1")
    assert module.fetched() == ["ViT-B-32/laion2b_s34b_b79k"]


def test_what_names_no_clip(model_folder: Path, chain: Chain, tmp_path: Path) -> None:
    for word, why in (
        (str(model_folder), "has no image tower"),
        (str(chain.unet), "run of kind 'diffusion'"),
        ("ViT-B-32", "names no CLIP"),  # without a tag open_clip would make random weights
        (str(tmp_path), "names no CLIP"),
    ):
        with pytest.raises(UsageError, match=why):
            load_clip(word)
    for word in ("ViT-B-32/no-such-tag", "no-such-model/none", f"local-dir:{tmp_path}"):
        with pytest.raises(CelebgenError, match=r"open_clip cannot load.*--clip"):
            load_clip(word)
