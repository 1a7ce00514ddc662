"""`evaluate edits`: editors that obey, do nothing or do too much, the cache, the sheet, the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from celebgen_cli.cli import app
from celebgen_cli.data.attributes import INDEX
from celebgen_cli.data.captions import read_caption
from celebgen_cli.editing.change import HIDDEN, Change
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import edited, edits
from celebgen_cli.evaluation.options import Options
from celebgen_cli.images import encode_png, read_pixels
from tests.command import one_sentence
from tests.evaluation.conftest import write_dataset
from tests.evaluation.test_attributes import SURE, pictures
from tests.evaluation.test_attributes import Reader as LyingReader
from tests.faces import random_attributes
from tests.likeness import write_lpips


class Reader(LyingReader):
    """One that is wrong about eyeglasses: it sees none."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        sure = np.where(labels_of(images) > 0, SURE, 1 - SURE).astype(np.float32)
        sure[:, INDEX["Eyeglasses"]] = 0
        return sure


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    rng = np.random.default_rng(3)
    labels = np.stack([random_attributes(rng) for _ in range(160)])
    return str(write_dataset(tmp_path / "data", pictures(labels), labels))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Reader:
    made = Reader()
    monkeypatch.setattr(edits, "open_judge", lambda *given: made)
    return made


def labels_of(photos: np.ndarray) -> np.ndarray:
    return np.where(photos.reshape(len(photos), -1, 3)[:, :40, 0] > 127, 1, -1)


def obedient(photos: np.ndarray, changes: Sequence[Change]) -> np.ndarray:
    """What the target says differs from the source, and nothing else."""
    labels = labels_of(photos)
    for row, change in zip(labels, changes, strict=True):
        before, after = read_caption(change.source), read_caption(change.target)
        row[:] = np.where((after != 0) & (after != before), after, row)
    return pictures(labels)


def use(monkeypatch: pytest.MonkeyPatch, editor: Callable[..., np.ndarray]) -> list[Any]:
    calls: list[Any] = []

    def edit(model: Any, photos: np.ndarray, changes: Sequence[Change], settings: Any, **how: Any) -> np.ndarray:
        calls.append((changes, settings, how))
        return editor(photos, changes)

    monkeypatch.setattr(edited, "edit", edit)
    return calls


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "edits", *map(str, words)])


def test_what_is_hidden_is_not_asked_to_stay() -> None:
    """Nobody's hair is to be seen under a hat that was asked for; of eyeglasses it is."""
    before, bar = np.zeros((2, 40), np.float32), np.full(40, 0.5)
    after = before.copy()
    after[:, [INDEX[name] for name in HIDDEN["Wearing_Hat"]]] = 1
    by_attribute = {one.attribute: one for one in edits.EDITS}
    for name, kept in (("Wearing_Hat", 1.0), ("Eyeglasses", 1 - 6 / 39)):
        table = edits._table(by_attribute[name], after, before, before, -np.ones((2, 40)), [0, 1], bar)
        assert table[:, edits.COLUMNS.index("kept")] == pytest.approx(kept)


def test_photographs_lack_what_they_are_edited_to_have() -> None:
    labels = np.stack([random_attributes(np.random.default_rng(i)) for i in range(300)])
    rows = edits.choose(labels, 49, 0)
    assert set(rows) == set(edits.EDITS) and all(len(set(some)) == 4 for some in rows.values())
    for one, some in rows.items():
        assert ((labels[some, INDEX[one.attribute]] > 0) == (not one.present)).all()
        assert all(((labels[some, INDEX[name]] > 0) == value).all() for name, value in one.needs)
        named = read_caption(one.prompt)
        assert named[INDEX[one.attribute]] == (1 if one.present else -1) and (named != 0).sum() == 1
    assert edits.choose(labels, 49, 0) == rows != edits.choose(labels, 49, 1)


@pytest.mark.parametrize("read", [True, False])
def test_an_obedient_editor_reaches_the_ceiling_and_keeps_the_rest(
    dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch, model_folder: Path, read: bool
) -> None:
    calls = use(monkeypatch, obedient)
    result = edits.evaluate_edits(str(model_folder), dataset, Options(num=80), read=read)
    for prompt, tally in result.edits.items():
        seen = prompt != "eyeglasses"
        assert (tally.n, tally.hit, tally.before, tally.ceiling) == (8, seen, 0, seen)
        assert tally.kept == 1 and tally.lpips is None
    assert result.total.hit == pytest.approx(0.9) and result.total.n == result.n == 80
    low, high = result.total.interval
    assert 0.75 < low < 0.9 < high < 0.97
    assert all(bool(change.source) == read for changes, _, _ in calls for change in changes)
    assert calls[0][2] == {"strength": 0.8, "method": "invert", "detail": True, "calibrate": True}
    json.dumps(result.to_dict(), allow_nan=False)


def test_an_editor_that_does_nothing_stays_where_the_photographs_are(
    dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    use(monkeypatch, lambda photos, changes: photos)
    total = edits.evaluate_edits(str(model_folder), dataset, Options(num=40), method="noise").total
    assert total.hit == total.before == 0 and total.kept == 1
    assert 0 < total.kept_by_cvae < 1  # a network with random weights


def test_an_editor_that_turns_everything_round_keeps_nothing(
    dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path
) -> None:
    use(monkeypatch, lambda photos, changes: pictures(-labels_of(photos)))
    weights = write_lpips(tmp_path / "weights")
    total = edits.evaluate_edits(str(model_folder), dataset, Options(num=40), lpips_weights=weights).total
    assert total.kept == pytest.approx(1 / 39, abs=0.01)  # the eyeglasses that the judge never sees
    assert total.hit == pytest.approx(0.9)
    assert total.lpips is not None and total.lpips > 0 and total.lpips_of_cvae is not None


def test_other_hair_and_what_goes_with_it_does_not_count_as_kept(
    dataset: str, judge: Reader, monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    def bleach(photos: np.ndarray, changes: Sequence[Change]) -> np.ndarray:
        labels = labels_of(photos)
        labels[:, [INDEX[name] for name in ("Black_Hair", "Brown_Hair", "Gray_Hair", "Bald")]] *= -1
        return pictures(labels)

    use(monkeypatch, bleach)
    tallies = edits.evaluate_edits(str(model_folder), dataset, Options(num=40)).edits
    assert tallies["blond hair"].kept == 1
    assert tallies["smiling"].kept == pytest.approx(1 - 4 / 39)


def test_the_command_with_the_model_itself(
    dataset: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (model_folder, dataset, "-n", 20, "--steps", 2)
    out = run(*words, "--json", "--sheet", tmp_path / "sheet.png", "--guidance", 3)
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    assert said["metric"] == "edits" and set(said["edits"]) == {one.prompt for one in edits.EDITS}
    assert (said["settings"]["steps"], said["settings"]["guidance"], said["settings"]["pag"]) == (2, 3, False)
    assert "may not be published" in " ".join(out.stderr.split())
    assert read_pixels(tmp_path / "sheet.png").shape == (20 * 34 - 2, 2 * 34 - 2, 3)
    assert run(*words, "-q", "--sheet", tmp_path / "sheet.png", "--guidance", 3).exit_code == 0  # its own
    fresh = run(*words, "--guidance", 3)
    calls = use(monkeypatch, obedient)
    again = run(*words, "--guidance", 3)
    assert fresh.stdout == again.stdout and not calls  # all of it was kept
    assert "LPIPS is left out" in again.stderr
    for line in ("hit  ", "kept  ", "edits      invert, strength 0.8, 2 steps, guidance 3, read", "smiling  ", "all  "):
        assert line in again.stdout
    assert run(*words, "--guidance", 3, "--no-read").exit_code == 0 and len(calls) == 10
    assert ", not calibrated\n" in run(*words, "--guidance", 3, "--no-calibrate").stdout
    assert len(calls) == 20 and not calls[-1][2]["calibrate"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-n", 9), "at least 10"),
        (("-n", 1600), "ask for fewer"),
        (("--method", "magic"), "choose one of invert, noise"),
        (("--strength", 2), "from 0 to 1, not 2"),
        (("--sheet", "a.jpg"), "must end in .png"),
        (("--sheet", "own.png"), "--sheet would overwrite own.png, which celebgen did not make"),
    ],
)
def test_what_cannot_be(
    dataset: str, model_folder: Path, words: tuple[object, ...], says: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    own = encode_png(np.zeros((9, 9, 3), np.uint8))
    Path("own.png").write_bytes(own)
    assert says in one_sentence(run(model_folder, dataset, *words, "-q"), 2)
    assert Path("own.png").read_bytes() == own


def test_photographs_of_which_nothing_is_known(tmp_path: Path, model_folder: Path) -> None:
    unknown = write_dataset(tmp_path / "data", np.zeros((12, 32, 32, 3), np.uint8), np.zeros((12, 40), np.int8))
    with pytest.raises(UsageError, match="attributes of data:valid are not known"):
        edits.evaluate_edits(str(model_folder), str(unknown), Options())
