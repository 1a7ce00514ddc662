"""What is said of captions: the same whether it is kept or not, and kept only where it comes back and fits."""

from pathlib import Path

import pytest
import torch

from celebgen_cli.data.captions import Wording
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.training import conditions as module
from celebgen_cli.training.batches import Examples, batch_rows, numpy_generator
from celebgen_cli.training.conditions import Conditions, captions_that_come_back
from tests.captioned import captioned, own_captions
from tests.networks import tiny_cvae, tiny_text

KNOWN = ["", "man", "smiling woman with blond hair and a hat", "bald man"]


class Counted:
    """The text encoder, and how often it was asked for what."""

    def __init__(self) -> None:
        self.real, self.asked = tiny_text(), list[list[str]]()

    def __call__(self, texts: list[str]) -> object:
        self.asked.append(texts)
        return self.real(texts)


def made(known: list[str]) -> tuple[Conditions, Counted]:
    text = Counted()
    return Conditions(text, tiny_cvae().eval().requires_grad_(False).prior, known), text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked", [["man", "", "man"], ["bald man", "old man", "", "woman", "old man"], ["new", "words"]]
)
def test_what_is_kept_is_what_would_be_said(asked: list[str]) -> None:
    plain, _ = made([])
    kept, _ = made(KNOWN)
    for _ in range(2):
        (ours, prior), (theirs, expected) = kept(asked), plain(asked)
        assert torch.equal(ours.mask, theirs.mask)
        hidden = ~ours.mask[..., None]  # what is behind the end of a text may be anything
        pairs = [(ours.pooled, theirs.pooled), *zip(prior, expected, strict=True)]
        pairs.append((ours.tokens.masked_fill(hidden, 0), theirs.tokens.masked_fill(hidden, 0)))
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
            assert not a.requires_grad


def test_what_comes_back_is_looked_at_once() -> None:
    conditions, text = made(KNOWN)
    assert conditions.keeps == 0
    for _ in range(3):
        conditions(["man", "", "bald man"])
    assert sorted(name for asked in text.asked[1:] for name in asked) == sorted(KNOWN)  # the first tells the size
    assert conditions.keeps == 4
    before = len(text.asked)
    conditions(["man", "old man", "old man"])
    assert text.asked[before:] == [["old man"]]


def test_nothing_is_kept_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", 5000)
    conditions, text = made(KNOWN)
    conditions(["man"])
    conditions(["man"])
    assert conditions.keeps == 0
    assert text.asked[-2:] == [["man"], ["man"]]


def test_captions_from_files_come_back_and_worded_ones_do_not(dataset32: Path, tmp_path: Path) -> None:
    split = open_dataset(captioned(dataset32, tmp_path / "own")).split("train")
    rows = [3, 0, 7]
    own = {text for row in rows for text in own_captions("train", row)}
    wordings = (Wording("files", 1.0), own), (Wording("both", 0.5), own), (Wording("grammar", 0.0), set())
    for wording, expected in wordings:
        examples = Examples(split, torch.tensor(rows).numpy(), wording)
        found = captions_that_come_back(examples)
        assert set(found) == (expected | {""} if expected else set())
        assert len(found) == len(set(found))
    files = Examples(split, None, Wording("files", 1.0))
    drawn = files.captions(batch_rows(len(files), 40, 0, 0), numpy_generator(0, 0, 0)).texts
    assert set(drawn) <= set(captions_that_come_back(files))
    assert captions_that_come_back(Examples(open_dataset(dataset32).split("train"))) == []
