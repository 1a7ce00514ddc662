"""The same command or another one: what counts as a setting, and how a difference is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.training.continuing import differences, goes_on

SETTINGS: dict[str, Any] = {
    "format": "celebgen-run", "kind": "vae", "preset": "tiny",
    "data": {"dataset": "data/celeba", "valid": None, "fingerprint": "a1", "train_images": 42},
    "captions": {"source": "grammar", "files_share": 0.0}, "loss": {"beta": 0.004, "lpips": 0.5},
    "cvae": {"widths": (16, 24)}, "vae": "runs/vae", "train": {"steps": 20, "learning_rate": 1e-3, "accumulate": 1},
}  # fmt: skip


def changed(**more: Any) -> dict[str, Any]:
    """SETTINGS with dotted names (`__` for a dot) changed."""
    settings = json.loads(json.dumps(SETTINGS))
    for name, value in more.items():
        *path, last = name.split("__")
        place = settings
        for part in path:
            place = place[part]
        place[last] = value
    return dict(settings)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    return tmp_path


def never(sentence: str) -> None:
    pytest.fail(sentence)


def test_no_run_no_going_on(tmp_path: Path) -> None:
    assert not goes_on(tmp_path, SETTINGS, False, never)
    told: list[str] = []
    assert not goes_on(tmp_path, SETTINGS, True, told.append)
    assert told == [f"there is no run in {tmp_path} to go on with: a new one begins there"]


def test_a_run_of_another_version_is_refused(run: Path) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (run / "config.json").write_text(json.dumps({**config, "format_version": 1}), encoding="utf-8")
    assert goes_on(run, changed(format_version=1), False, never)
    for resume in (False, True):
        with pytest.raises(CelebgenError, match="has format version 1, and this celebgen reads 2"):
            goes_on(run, changed(format_version=2), resume, never)


@pytest.mark.parametrize("more", [
    {}, {"data__dataset": "/elsewhere/celeba"}, {"train__accumulate": 0}, {"vae": "/there/runs/vae"},
    {"vae": "./runs/vae"}, {"unheard": 5}, {"train__unheard": 5},
])  # fmt: skip
def test_the_same_settings_go_on(run: Path, more: dict[str, Any]) -> None:
    assert goes_on(run, changed(**more), False, never)


@pytest.mark.parametrize(("more", "told"), [
    ({"train__learning_rate": 3e-4}, "--learning-rate is 0.001 there and 0.0003 here"),
    ({"train__accumulate": 2}, "--accumulate is 1 there and 2 here"),
    ({"loss__beta": 0.1}, "--beta is 0.004 there and 0.1 here"),
    ({"data__fingerprint": "b2"}, "DATASET is a1 there and b2 here"),
    ({"data__valid": "held"}, "--valid is not given there and held here"),
    ({"captions__source": "files"}, "--captions is grammar there and files here"),
    ({"vae": "runs/other"}, "--vae is runs/vae there and runs/other here"),
    ({"loss__lpips": 0.1}, "loss.lpips is 0.5 there and 0.1 here"),
    ({"cvae__widths": [9], "preset": "base128"}, "(--preset is tiny there and base128 here, cvae.widths is [16, 24]"),
])  # fmt: skip
def test_other_settings_are_named(run: Path, more: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        goes_on(run, changed(**more), False, never)
    assert told in str(caught.value)
    assert "add --resume" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_differences_are_counted(run: Path) -> None:
    more = changed(train__steps=1, train__learning_rate=2.0, loss__beta=3.0, loss__lpips=4.0, preset="p" * 100)
    with pytest.raises(UsageError, match=r"--preset is tiny there and p{57}\.\.\. here, --beta .* and 2 more\)"):
        goes_on(run, more, False, never)


def test_resume_takes_other_settings_and_warns_of_other_pictures(run: Path) -> None:
    assert goes_on(run, changed(train__steps=99), True, never)
    said: list[str] = []
    assert goes_on(run, changed(data__fingerprint="b2"), True, said.append)
    assert len(said) == 1
    assert "training pictures are not those" in said[0]


def test_another_kind(run: Path) -> None:
    with pytest.raises(UsageError, match="holds a run of kind 'vae', not 'clip'"):
        goes_on(run, changed(kind="clip"), False, never)


def test_a_student_is_known_by_its_own_words(run: Path) -> None:
    taught = changed(distill={"steps": 4, "teacher_steps": 20}, vae="models/one")
    for resume in (True, False):
        (run / "config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
        with pytest.raises(UsageError, match=r"a denoiser's run, which does not go on|--distill is runs/vae there"):
            goes_on(run, taught, resume, never)
    with pytest.raises(UsageError, match=r"holds a denoiser's run, which does not go on as a student's \(--distill\)"):
        goes_on(run, taught, True, never)
    (run / "config.json").write_text(json.dumps(taught), encoding="utf-8")
    with pytest.raises(UsageError, match=r"holds a student's run, which does not go on as a denoiser's"):
        goes_on(run, SETTINGS, True, never)
    other = changed(distill={"steps": 4, "teacher_steps": 6}, vae="models/two")
    said = r"--distill is models/one there and models/two here, the number of the teacher's steps is 20 there and 6"
    with pytest.raises(UsageError, match=said):
        goes_on(run, other, False, never)


@pytest.mark.parametrize("content", ["[]", "{", ""])
def test_a_file_that_describes_no_run(run: Path, content: str) -> None:
    (run / "config.json").write_text(content, encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(CelebgenError, match=r"config\.json"):
            goes_on(run, SETTINGS, resume, never)


def test_nothing_differs_from_itself() -> None:
    assert differences(changed(), SETTINGS) == {}
