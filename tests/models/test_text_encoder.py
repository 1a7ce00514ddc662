"""The compact text tower against open_clip's own, its token rows, and open_clip models from a folder."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from celebgen_cli.data.captions import describe, vocabulary
from celebgen_cli.errors import CelebgenError
from celebgen_cli.models.presets import tiny
from celebgen_cli.models.text_encoder import (
    UNKNOWN,
    CompactText,
    OpenClipText,
    build_text,
    open_clip_source,
    trained_ids,
)
from celebgen_cli.models.tokenizer import END, START, tokenizer
from celebgen_cli.training.clip import CompactCLIP
from tests.faces import random_attributes
from tests.networks import randomise, tiny_text

PROMPTS = [
    "smiling woman blond hair",
    "",
    "A photo of an old man, with glasses and a hat.",
    "zebra quixotic",
    "man " * 80,
]


@pytest.fixture(scope="module")
def text() -> CompactText:
    return tiny_text()


def test_equal_to_open_clips_text_tower(text: CompactText) -> None:
    from open_clip.transformer import TextTransformer

    c = tiny().clip
    reference = TextTransformer(
        context_length=c.context_length, vocab_size=49408, width=c.width, heads=c.heads, layers=c.layers,
        output_dim=c.embed_dim, output_tokens=True,
    )  # fmt: skip
    reference.load_state_dict(text.to_open_clip())
    with torch.no_grad():
        pooled, tokens = reference.eval()(tokenizer()(PROMPTS, c.context_length))
        own = text(PROMPTS)
    torch.testing.assert_close(own.pooled, pooled, rtol=1e-4, atol=1e-5)
    assert own.tokens.shape[1] == 48  # the last prompt fills the context
    assert own.mask.sum(1).tolist() == [min(48, 2 + len(tokenizer().encode(p))) for p in PROMPTS]
    torch.testing.assert_close(own.tokens[own.mask], tokens[own.mask], rtol=1e-4, atol=1e-5)
    assert pooled.std() > 0.1


def test_back_from_open_clip(text: CompactText) -> None:
    again = CompactText.from_open_clip(text.to_open_clip(), text.config, text.ids.tolist())
    assert again.state_dict().keys() == text.state_dict().keys()
    for name, tensor in text.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_longer_neighbour_changes_nothing(text: CompactText) -> None:
    alone, among = text(["bald man"]), text(["bald man", PROMPTS[2]])
    length = alone.tokens.shape[1]
    assert among.tokens.shape[1] > length
    torch.testing.assert_close(among.tokens[:1, :length], alone.tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(among.pooled[:1], alone.pooled, rtol=1e-4, atol=1e-5)
    assert among.mask[0].tolist() == [True] * length + [False] * (among.tokens.shape[1] - length)


def test_words_never_seen_share_one_row() -> None:
    encoder = CompactText(tiny().clip, trained_ids(["woman"]))
    randomise(encoder)
    for word in ("zebra", "pelican", "woman"):
        assert len(tokenizer().encode(word)) == 1
    zebra, pelican, woman = encoder(["zebra", "pelican", "woman"]).pooled
    assert torch.equal(zebra, pelican)
    assert (zebra - woman).abs().max() > 1e-2


def test_every_token_of_two_thousand_captions_is_a_trained_one() -> None:
    known, rng = set(trained_ids(vocabulary())), np.random.default_rng(0)
    for _ in range(2000):
        attributes = random_attributes(rng) if rng.random() < 0.5 else rng.choice([-1, 1], 40)
        caption = describe(attributes, rng).text
        assert known.issuperset(tokenizer().encode(caption)), caption


def test_trained_ids() -> None:
    ids = trained_ids(["woman"])
    assert {START, END, *tokenizer().encode("woman"), *tokenizer().encode(",")} <= set(ids)
    assert ids == sorted(set(ids))
    assert UNKNOWN not in trained_ids(vocabulary())
    assert tokenizer().encode("zebra")[0] not in trained_ids(vocabulary())


def test_unknown_words_are_named_in_order(text: CompactText) -> None:
    assert text.unknown_words("smiling zebra, blond woman on a Xylophone") == ["zebra", "Xylophone"]
    assert text.unknown_words("Smiling WOMAN, with blonde hair.") == []


def test_built_again_from_its_description(text: CompactText) -> None:
    described = json.loads(json.dumps(text.description()))
    again = build_text(described, text.state_dict())
    assert torch.equal(again(PROMPTS).pooled, text(PROMPTS).pooled)
    assert (again.width, again.pooled_width, again.source) == (12, 16, "compact")
    with pytest.raises(CelebgenError, match=r"weights of the compact text encoder are missing"):
        build_text(described, None)


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("local-dir:some/folder", f"local-dir:{Path('some/folder')}"),
        ("runs/clip", None),
        ("open_clip", None),
    ],
)
def test_sources(words: str, source: str | None) -> None:
    assert open_clip_source(words) == source


def test_an_open_clip_model_from_a_folder(tmp_path: Path) -> None:
    """`local-dir:PATH` reads what open_clip wrote, and gives what the compact reader gives for the same weights."""
    c = tiny().clip
    model = CompactCLIP(c).eval()
    randomise(model)
    vision = {"layers": list(c.image_layers), "width": c.image_width, "image_size": c.image_size}
    words = {
        "context_length": c.context_length,
        "width": c.width,
        "heads": c.heads,
        "layers": c.layers,
        "vocab_size": 49408,
    }
    config = {"model_cfg": {"embed_dim": c.embed_dim, "vision_cfg": vision, "text_cfg": words}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {k: v.contiguous() for k, v in model.clip.state_dict().items() if k != "logit_bias"}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    wrapped = OpenClipText(f"local-dir:{tmp_path}").eval()
    compact = CompactText.from_open_clip(model.clip.text.state_dict(), c, trained_ids(vocabulary()))
    assert (wrapped.width, wrapped.pooled_width) == (12, 16)
    prompts = ["smiling woman blond hair", "old man"]
    with torch.no_grad():
        theirs, ours = wrapped(prompts), compact(prompts)
    torch.testing.assert_close(theirs.pooled, ours.pooled, rtol=1e-4, atol=1e-5)
    assert theirs.mask.sum(1).tolist() == ours.mask.sum(1).tolist()
    torch.testing.assert_close(theirs.tokens[theirs.mask], ours.tokens[ours.mask], rtol=1e-4, atol=1e-5)
    assert wrapped.description() == {"kind": "open_clip", "source": f"local-dir:{tmp_path}"}


class OtherTokenizer:
    """As open_clip wraps those of transformers: the numbers are in `tokenizer`."""

    def __init__(self, pad: int | None, end: int) -> None:
        self.tokenizer = SimpleNamespace(pad_token_id=pad, eos_token_id=end)


@pytest.mark.parametrize(
    ("pad", "end", "ids", "real"),
    [
        (1, 1, [300, 700, 12, 45, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]),  # SigLIP: fills up with the end of the text
        (1, 1, [300, 700, 12, 45, 9, 8, 7], [1] * 7),  # and cuts it off
        (1, 2, [0, 900, 12, 45, 2, 1, 1], [1, 1, 1, 1, 1, 0, 0]),  # XLM-RoBERTa
        (None, 2, [0, 900, 12, 45, 2, 0, 0], [1] * 7),
    ],
)
def test_words_of_other_vocabularies_are_seen(pad: int | None, end: int, ids: list[int], real: list[int]) -> None:
    """The highest number is the end of the text in CLIP's vocabulary alone; elsewhere it is the rarest word."""
    wrapped = OpenClipText.__new__(OpenClipText)
    torch.nn.Module.__init__(wrapped)
    wrapped._tokenize = OtherTokenizer(pad, end)  # type: ignore[assignment]
    assert wrapped._filled(torch.tensor([ids, ids])).int().tolist() == [real, real]


def test_an_open_clip_model_whose_tokenizer_needs_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr(open_clip, "create_model", lambda *args, **kwargs: None)
    monkeypatch.setattr(open_clip, "get_tokenizer", missing)
    with pytest.raises(CelebgenError, match=r"needs another package .*No module named 'transformers'.*pip install"):
        OpenClipText("ViT-B-16-SigLIP/webli")


@pytest.mark.parametrize("source", ["no-such-model/none", "ViT-B-32/no-such-tag"])
def test_an_open_clip_model_that_does_not_exist(source: str) -> None:
    with pytest.raises(CelebgenError, match=r"open_clip cannot load the text encoder"):
        OpenClipText(source)


def test_the_configuration_survives_json(text: CompactText) -> None:
    assert json.loads(json.dumps(asdict(text.config)))["image_layers"] == [1, 1, 1, 1]
