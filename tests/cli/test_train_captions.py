"""The training commands on pictures with captions of their own: where captions come from is recorded and kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from celebgen_cli.data.captions import Wording
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.training import recipes
from celebgen_cli.training.batches import Examples
from celebgen_cli.training.order import Order
from tests.captioned import captioned
from tests.command import invoke, one_sentence
from tests.networks import tiny_text

TINY = ("--preset", "tiny", "--steps", 2, "-q")


def config(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "config.json").read_text(encoding="utf-8")))


def test_pictures_with_captions_alone_go_through_the_whole_chain(dataset32: Path, tmp_path: Path) -> None:
    data = captioned(dataset32, tmp_path / "data", known=False)
    clip, vae, unet = tmp_path / "clip", tmp_path / "vae", tmp_path / "unet"
    for words in (
        ("train-clip", data, "-o", clip, *TINY),
        ("train-vae", data, "-o", vae, "--text", clip, *TINY, "--perceptual", "none", "--prior-steps", 2),
        ("train-diffusion", data, "-o", unet, "--vae", vae, *TINY),
    ):
        out = invoke(*words)
        assert (out.exit_code, out.stdout) == (0, f"{words[3]}\n"), out.stderr
    for run in (clip, vae, unet):
        assert config(run)["captions"] == {"source": "files", "files_share": 1.0}
    figures = json.loads((clip / "report.json").read_text(encoding="utf-8"))
    assert set(figures) == {"recall_at_10", "precision_at_10", "precision_chance"}  # nobody knows what captions name


def test_a_stated_share_is_recorded_and_kept(dataset32: Path, tmp_path: Path) -> None:
    data, run = captioned(dataset32, tmp_path / "data"), tmp_path / "clip"
    words = ("train-clip", data, "-o", run, "--preset", "tiny")
    out = invoke(*words, "--steps", 1, "--captions", "both", "--files-share", 0.25)
    assert out.exit_code == 0, out.stderr
    assert config(run)["captions"] == {"source": "both", "files_share": 0.25}
    assert "not used" not in out.stderr
    out = invoke(*words, "--steps", 2, "--resume")
    assert out.exit_code == 0, out.stderr
    assert config(run)["captions"] == {"source": "both", "files_share": 0.25}


def test_what_a_resumed_run_says_and_what_it_had(dataset32: Path, tmp_path: Path) -> None:
    data = open_dataset(captioned(dataset32, tmp_path / "data"))
    said: list[str] = []

    def wording(before: dict[str, Any], captions: str | None = None, share: float | None = None) -> Wording:
        order = Order(data.path, tmp_path / "run", captions=captions, files_share=share, warn=said.append)
        vars(order)["before"] = before  # what the cached property would read
        return order.wording(data)

    both = {"captions": {"source": "both", "files_share": 0.25}}
    assert wording(both) == Wording("both", 0.25)
    assert wording(both, share=0.75) == Wording("both", 0.75)
    assert wording(both, "files").source == "files"
    assert wording({"captions": {"source": "files", "files_share": 1.0}}, "both") == Wording("both", 0.5)
    assert said == []
    assert wording({}).source == "grammar"  # a run from before there was a choice
    assert len(said) == 1 and "are not used" in said[0]
    assert wording({"captions": {"source": "grammar", "files_share": 0.0}}).source == "grammar"
    assert wording({}, "grammar").source == "grammar"
    assert len(said) == 1  # said where nobody chose


@pytest.mark.parametrize(
    ("known", "texts", "more", "sentence"),
    [
        (False, False, (), "neither attributes nor captions"),
        (True, False, ("--captions", "files"), "no captions from files"),
        (False, True, ("--captions", "both"), "use --captions files"),
        (True, True, ("--captions", "own"), "grammar, files or both, not 'own'"),
        (True, True, ("--files-share", 0.5), "--captions both"),
        (True, True, ("--captions", "both", "--files-share", 1), "less than 1"),
    ],
)
def test_what_is_refused_leaves_no_folder(
    dataset32: Path, tmp_path: Path, known: bool, texts: bool, more: tuple[object, ...], sentence: str
) -> None:
    data = captioned(dataset32, tmp_path / "data", known=known, texts=texts)
    assert sentence in one_sentence(invoke("train-clip", data, "-o", tmp_path / "run", *TINY, *more), 2)
    assert not (tmp_path / "run").exists()


def test_pictures_are_moved_to_the_device_before_training(
    dataset32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reached(Exception):
        pass

    def stop(device: object, *parts: Examples) -> None:
        raise Reached([len(part) for part in parts])

    monkeypatch.setattr(recipes, "preload", stop)
    for words in (("train-clip",), ("train-vae", "--text", "open_clip:none", "--perceptual", "none")):
        monkeypatch.setattr(recipes.runs, "load_text", lambda source: tiny_text())
        out = invoke(*words, dataset32, "-o", tmp_path / "run", *TINY)
        assert isinstance(out.exception, Reached) and out.exception.args == ([42, 12],)
