"""The compact CLIP: its loss by hand, unknown tokens, and figures that can be wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from celebgen_cli.data.captions import Wording, vocabulary
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.models.presets import tiny
from celebgen_cli.models.text_encoder import UNKNOWN, trained_ids
from celebgen_cli.models.tokenizer import END, START, tokenizer
from celebgen_cli.training import clip as module
from celebgen_cli.training.batches import numpy_generator, training_and_held_out
from celebgen_cli.training.clip import CLIPLossConfig, CLIPTask, _probe_f1, compact_text, pairwise_sigmoid_loss
from tests.captioned import captioned, own_captions
from tests.networks import randomise


def task(dataset: Path, **loss: object) -> CLIPTask:
    train, held = training_and_held_out(open_dataset(dataset))
    return CLIPTask(tiny().clip, train, held, 8, 0, CLIPLossConfig(**loss))  # type: ignore[arg-type]


def test_pairwise_loss_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    text, image = (F.normalize(torch.randn(4, 6, generator=generator), dim=-1) for _ in range(2))
    positive = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]).bool()
    scale, bias = torch.tensor(5.0), torch.tensor(-1.0)
    total = 0.0
    for i in range(4):
        count = int(positive[i].sum())
        for j in range(4):
            logit = float(5 * text[i] @ image[j] - 1)
            weight = 0.5 * 4 / (count if positive[i, j] else 4 - count)
            total += weight * float(F.softplus(torch.tensor(-logit if positive[i, j] else logit)))
    assert float(pairwise_sigmoid_loss(text, image, positive, scale, bias)) == pytest.approx(total / 16, rel=1e-5)


def test_pairs_of_which_nothing_is_known_do_not_count() -> None:
    """By hand: they are left out, and a caption of which less is known weighs as much as the others."""
    generator = torch.Generator().manual_seed(1)
    text, image = (F.normalize(torch.randn(3, 6, generator=generator), dim=-1) for _ in range(2))
    positive = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1]]).bool()
    counts = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()
    scale, bias = torch.tensor(5.0), torch.tensor(-1.0)
    total = 0.0
    for i in range(3):
        known = [j for j in range(3) if counts[i, j]]
        true = sum(bool(positive[i, j]) for j in known)
        for j in known:
            logit = float(5 * text[i] @ image[j] - 1)
            weight = 0.5 * 3 / (true if positive[i, j] else len(known) - true)
            total += weight * float(F.softplus(torch.tensor(-logit if positive[i, j] else logit)))
    found = pairwise_sigmoid_loss(text, image, positive, scale, bias, counts)
    assert float(found) == pytest.approx(total / 9, rel=1e-5)
    everything = pairwise_sigmoid_loss(text, image, positive, scale, bias, torch.ones(3, 3).bool())
    assert float(everything) == pytest.approx(float(pairwise_sigmoid_loss(text, image, positive, scale, bias)))


def test_captions_from_files_teach_the_head_nothing(dataset32: Path) -> None:
    made = task(dataset32)
    randomise(made.module)
    pooled = torch.randn(3, made.config.embed_dim, generator=torch.Generator().manual_seed(0))
    named = np.random.default_rng(0).choice([-1, 0, 1], (3, 40)).astype(np.int8)
    stored = np.array([False, True, False])
    whole = made._read_loss(pooled[::2], named[::2], stored[::2])
    torch.testing.assert_close(made._read_loss(pooled, named, stored), whole)
    nothing = made._read_loss(pooled, named, ~np.zeros(3, dtype=bool))
    nothing.backward()
    assert float(nothing.detach()) == 0
    weight = made.model.read.weight.grad
    assert weight is not None and not weight.any()


@pytest.mark.parametrize("wording", [Wording("files"), Wording("both", 0.5)])
def test_training_on_captions_from_files(dataset32: Path, tmp_path: Path, wording: Wording) -> None:
    data = open_dataset(captioned(dataset32, tmp_path / "data"))
    made = CLIPTask(tiny().clip, *training_and_held_out(data, None, wording), 8, 0, CLIPLossConfig(insert=0, replace=0))
    texts = [text for row in range(42) for text in own_captions("train", row)]
    assert set(trained_ids(vocabulary())) < set(made.token_ids)
    words = tokenizer()(texts, 48)
    assert set(words.flatten().tolist()) - {0} <= set(made.token_ids)  # the rows of the table that are kept
    randomise(made.module)
    first, logged = made.loss(3)
    assert float(first) == float(made.loss(3)[0])
    first.backward()
    gradient = made.model.clip.text.token_embedding.weight.grad
    assert gradient is not None
    (zebra,) = tokenizer().encode("zebra")
    for step in range(4, 8):
        made.loss(step)[0].backward()
    assert gradient[zebra].abs().sum() > 0
    figures = made.validate(made.module)
    assert ("probe_f1" in figures) == (wording.source == "both")
    assert figures["score"] == -figures.get("probe_f1", figures["recall_at_10"])
    if wording.source == "files":
        assert figures["precision_chance"] == pytest.approx(1 / 12)  # each caption is of its own picture
        with_words = [float(made.loss(step)[1]["contrast"]) for step in range(3)]
        assert all(value > 0 for value in with_words) and float(logged["read"]) >= 0


def test_pairwise_loss_with_captions_true_of_all_or_none() -> None:
    text, image = F.normalize(torch.randn(2, 4), dim=-1), F.normalize(torch.randn(2, 4), dim=-1)
    positive = torch.tensor([[True, True], [False, False]])
    assert pairwise_sigmoid_loss(text, image, positive, torch.tensor(1.0), torch.tensor(0.0)).isfinite()


def test_pairwise_loss_pulls_true_pairs_together() -> None:
    unit = torch.eye(3)
    args = (torch.eye(3).bool(), torch.tensor(10.0), torch.tensor(-5.0))
    assert pairwise_sigmoid_loss(unit, unit, *args) < 0.1 * pairwise_sigmoid_loss(unit, unit.roll(1, 0), *args)


def test_tokens_with_unknown_words_put_in(dataset32: Path) -> None:
    made = task(dataset32, insert=1.0, replace=0.0)
    texts = ["smiling woman blond hair", "man", "", "man " * 60]
    plain = tokenizer()(texts, 48)
    for step in range(20):
        ids = made._tokens(texts, numpy_generator(0, step, 0))
        for row, whole in zip(ids, plain, strict=True):
            assert row[0] == START
            end = int(row.argmax())
            assert row[end] == END
            assert not row[end + 1 :].any()
            rest = row[: end + 1][row[: end + 1] != UNKNOWN]
            assert rest.tolist() == whole[: int(whole.argmax()) + 1].tolist()  # the words are there, in order
        assert [int((row == UNKNOWN).sum()) > 0 for row in ids] == [True, True, True, False]


def test_tokens_made_unknown(dataset32: Path) -> None:
    made = task(dataset32, insert=0.0, replace=1.0)
    ids = made._tokens(["smiling woman"], numpy_generator(0, 0, 0))[0]
    assert ids[:4].tolist() == [START, UNKNOWN, UNKNOWN, END]
    untouched = task(dataset32, insert=0.0, replace=0.0)._tokens(["smiling woman"], numpy_generator(0, 0, 0))
    assert torch.equal(untouched, tokenizer()(["smiling woman"], 48))


@pytest.mark.parametrize("contrast", ["sigmoid", "softmax"])
def test_the_loss_is_a_function_of_the_step_and_reaches_every_parameter(dataset32: Path, contrast: str) -> None:
    made = task(dataset32, contrast=contrast)
    randomise(made.module)
    first, logged = made.loss(3)
    again, _ = made.loss(3)
    assert float(first) == float(again)
    assert float(first) == pytest.approx(float(logged["contrast"]) + 20 * float(logged["read"]), rel=1e-5)
    assert float(made.loss(4)[0]) != float(first)
    first.backward()
    idle = {n for n, p in made.module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert idle <= {"clip.logit_bias"} if contrast == "softmax" else idle == set()


def test_only_rows_that_will_be_kept_are_trained(dataset32: Path) -> None:
    made = task(dataset32, insert=1.0, replace=0.5)
    randomise(made.module)
    for step in range(5):
        made.loss(step)[0].backward()
    gradient = made.model.clip.text.token_embedding.weight.grad
    touched = set(gradient.abs().sum(1).nonzero().flatten().tolist())
    assert touched <= {*trained_ids(vocabulary()), UNKNOWN, 0}
    assert {START, END, UNKNOWN} <= touched


def test_the_kept_tower_gives_the_trained_ones_vectors(dataset32: Path) -> None:
    made = task(dataset32)
    randomise(made.module)
    kept = compact_text(made.module, made.config, made.token_ids)
    texts = ["smiling woman, blond hair", "an old man with glasses"]
    with torch.no_grad():
        trained = made.model.clip.eval().encode_text(tokenizer()(texts, 48))
        torch.testing.assert_close(kept(texts).pooled, trained, rtol=1e-4, atol=1e-5)


def test_probe_reads_what_is_there_and_not_what_is_not() -> None:
    rng = np.random.default_rng(0)
    named = rng.choice([-1, 0, 1], (600, 40), p=[0.1, 0.7, 0.2]).astype(np.int8)
    clear = torch.from_numpy(np.concatenate([named > 0, named < 0], axis=1)).float() @ torch.randn(80, 128)
    assert _probe_f1(clear[:400], named[:400], clear[400:], named[400:]) > 0.95
    noise = torch.randn(600, 128)
    assert _probe_f1(noise[:400], named[:400], noise[400:], named[400:]) < 0.2


def test_figures(dataset32: Path) -> None:
    made = task(dataset32)
    figures = made.validate(made.module)
    assert set(figures) == {"probe_f1", "recall_at_10", "precision_at_10", "precision_chance", "score"}
    assert figures["score"] == -figures["probe_f1"]
    assert all(0 <= figures[name] <= 1 for name in figures if name != "score")


def test_retrieval_by_an_oracle_is_perfect(dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts and pictures that share a vector find each other: the figures count what they say."""
    made = task(dataset32)
    own = torch.eye(12, 16)

    monkeypatch.setattr(made.model.clip, "encode_image", lambda images: own)
    monkeypatch.setattr(
        module, "_pooled", lambda encoder, texts: own if len(texts) == 12 else torch.randn(len(texts), 16)
    )
    figures = made.measure(made.module, captions_count=100)
    assert figures["recall_at_10"] == 1.0
    monkeypatch.setattr(made.model.clip, "encode_image", lambda images: own * torch.linspace(-1, -2, 12)[:, None])
    assert made.measure(made.module, captions_count=100)["recall_at_10"] < 1.0
