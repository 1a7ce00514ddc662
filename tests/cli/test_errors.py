"""What cannot work ends in one sentence and an exit code, for every command of the chain."""

import shutil
from pathlib import Path

import pytest

from tests.command import Chain, invoke, one_sentence


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


CALLS = [
    (("train-clip", "nowhere", "-o", "run"), 1, "nowhere does not exist"),
    (("train-clip", ".", "-o", "run"), 1, "is not a prepared dataset"),
    (("train-clip", "{dataset}", "-o", "run", "--preset", "huge"), 2, "there is no preset 'huge'"),
    (
        ("train-clip", "{dataset}", "-o", "run", "--preset", "tiny", "--contrast", "max"),
        2,
        "--contrast is sigmoid or softmax",
    ),
    (("train-clip", "{dataset}", "-o", "run", "--preset", "tiny", "--device", "gpu"), 2, "no device 'gpu'"),
    (("train-clip", "{dataset}", "-o", "run", "--preset", "tiny", "--precision", "int4"), 2, "no precision 'int4'"),
    (
        ("train-clip", "{dataset}", "-o", "run", "--preset", "tiny", "--init-from", "nowhere"),
        1,
        "nowhere",
    ),
    (("train-clip", "{dataset}", "-o", "run", "--preset", "tiny", "--init-from", "{vae}"), 2, "is a run of kind 'vae'"),
    (("train-clip", "{dataset}", "-o", "run", "--preset", "tiny", "--init-from", "celebgen-base128"), 1,
     "do not fit this preset and text encoder"),
    (
        ("train-vae", "{dataset}", "-o", "run", "--text", "nowhere", "--preset", "tiny"),
        2,
        "--text nowhere does not exist",
    ),
    (("train-vae", "{dataset}", "-o", "run", "--text", "{clip}", "--preset", "small64"), 2, "takes 64 px"),
    (
        ("train-vae", "{dataset}", "-o", "run", "--text", "{clip}", "--perceptual", "l2"),
        2,
        "--perceptual is lpips, lpips-vgg or none, not 'l2'",
    ),
    (
        ("train-vae", "{dataset}", "-o", "run", "--text", "open_clip:none/none", "--preset", "tiny"),
        1,
        "open_clip cannot load",
    ),
    (("train-diffusion", "{dataset}", "-o", "run", "--vae", "{clip}", "--preset", "tiny"), 1, "has no cvae network"),
    (
        ("train-diffusion", "{dataset}", "-o", "run", "--vae", "nowhere", "--preset", "tiny"),
        1,
        "nowhere is neither a run",
    ),
    (("train-diffusion", "{dataset}", "-o", "run", "--vae", "{vae}", "--init", "x"), 2,
     "--init is one of prior, coarse, mean, noise+prior, noise"),
    (("export", "nowhere", "-o", "model"), 1, "nowhere is neither a run"),
    (("export", "{clip}", "-o", "model"), 1, "run of kind 'clip' and has no cvae network"),
    (("export", "{vae}", "-o", "model"), 1, "run of kind 'vae' and has no unet network"),
    (
        ("export", "{unet}", "-o", "model", "--storage", "int4"),
        2,
        "there is no storage 'int4'; choose one of int8, fp16, fp32",
    ),
    (("export", "{unet}", "-o", "model", "--sampler", "euler"), 2, "there is no sampler 'euler'"),
    (("export", "{unet}", "-o", "model", "--steps", "5000"), 2, "--steps must be from 1 to 1000, not 5000"),
    (("export", "{unet}", "-o", "{unet}"), 2, "is not empty"),
    (("info", "nowhere"), 1, "nowhere"),
    (("info", "."), 1, "is no model (model.json), run (config.json), dataset (dataset.json) or generated picture"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), CALLS, ids=[" ".join(words) for words, _, _ in CALLS])
def test_one_sentence(chain: Chain, here: Path, words: tuple[str, ...], code: int, sentence: str) -> None:
    filled = [word.format(dataset=chain.dataset, clip=chain.clip, vae=chain.vae, unet=chain.unet) for word in words]
    assert sentence in one_sentence(invoke(*filled), code)
    assert list(here.iterdir()) == []


def test_datasets_that_do_not_go_together(chain: Chain, here: Path) -> None:
    from tests.faces import prepared_faces

    other = prepared_faces(here, 6, size=64)
    error = one_sentence(invoke("train-clip", chain.dataset, "-o", "run", "--preset", "tiny", "--valid", other), 2)
    assert "is 64 px, crop face178, and" in error
    assert "prepare both alike" in error


def test_a_dataset_that_was_cut_off(chain: Chain, here: Path) -> None:
    copy = Path(shutil.copytree(chain.dataset, here / "copy", ignore=shutil.ignore_patterns("latents")))
    images = copy / "train" / "images.npy"
    images.write_bytes(images.read_bytes()[:5000])
    error = one_sentence(invoke("train-clip", copy, "-o", "run", "--preset", "tiny"), 1)
    assert "images.npy is cut off or damaged" in error


def test_a_place_that_cannot_be_written(chain: Chain, here: Path) -> None:
    Path("file").write_text("", encoding="utf-8")
    for words in (
        ("export", chain.unet, "-o", "file/model"),
        ("train-clip", chain.dataset, "-o", "file/run", "--preset", "tiny"),
    ):
        assert "cannot write" in one_sentence(invoke(*words), 1)
    assert "file" in one_sentence(invoke("export", chain.unet, "-o", "file"), 1)
