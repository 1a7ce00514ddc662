"""FID on the way: it is the Frechet distance of what the averaged weights draw, and training does not notice."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.drawing import generate
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import features
from celebgen_cli.models.cvae import to_uint8
from celebgen_cli.training import periodic
from celebgen_cli.training.batches import Examples
from tests.command import VOLATILE, Chain, invoke
from tests.networks import tiny_cvae, tiny_text, tiny_unet


class Corners:
    """Six pixels' levels as features."""

    name, layer, dimensions, weights_sha256 = "corners", "pixels", 6, "0"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images[:, ::31, ::31].reshape(len(images), -1)[:, :6].astype(np.float32) / 255


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELEBGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The distance from the eigenvalues of the product of the covariances."""
    one, other = (np.cov(x.astype(np.float64).T) for x in (a, b))
    roots = np.sqrt(np.linalg.eigvals(one @ other).astype(complex)).real.sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * roots)


def test_one_held_out_picture_is_refused_before_training(dataset32: Path) -> None:
    held_out = Examples(open_dataset(dataset32).split("valid"), np.arange(1))
    with pytest.raises(UsageError, match="--fid-every needs at least 2 held-out pictures and there is 1; leave it out"):
        periodic.PeriodicFID(
            5, 12, Corners(), tiny_text(), tiny_cvae(), Schedule.cosine(1000), held_out, contextlib.nullcontext
        )


@pytest.mark.parametrize("whole", [True, False])
def test_it_is_the_distance_of_the_faces_that_the_weights_draw(dataset32: Path, own_cache: Path, whole: bool) -> None:
    split = open_dataset(dataset32).split("valid")
    rows = np.arange(len(split)) if whole else np.arange(1, len(split))
    held_out = Examples(split, rows)
    text, cvae, unet, schedule = tiny_text(), tiny_cvae().eval(), tiny_unet().eval(), Schedule.cosine(1000)
    fid = periodic.PeriodicFID(5, 12, Corners(), text, cvae, schedule, held_out, contextlib.nullcontext)
    assert fid.stepped(4, unet) == {}
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    figures = fid.stepped(5, unet)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert figures["fid_images"] == 12
    with torch.no_grad():
        faces = generate(text, cvae, unet, schedule, fid.prompts, list(range(12)), steps=10, guidance=1.5)
    drawn, real = Corners()(to_uint8(faces)), Corners()(split.gather(rows))
    assert figures["fid"] == pytest.approx(frechet(drawn, real), rel=1e-3)
    assert fid.stepped(10, unet) == figures  # the same captions and seeds
    assert own_cache.exists() == whole  # a split's features are worth keeping


def lines(run: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in VOLATILE} for line in found]


def test_training_does_not_notice(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celebgen_cli.training.recipes.inception", lambda device: Corners())
    runs = {"plain": (), "measured": ("--fid-every", 3, "--fid-num", 8)}
    for name, more in runs.items():
        out = invoke(
            "train-diffusion", chain.dataset, "-o", tmp_path / name, "--vae", chain.vae, "--preset", "tiny",
            "--steps", 7, "--quiet", *more,
        )  # fmt: skip
        assert out.exit_code == 0, out.stderr
    plain, measured = (lines(tmp_path / name) for name in runs)
    found = [line for line in measured if "fid" in line]
    assert [(line["step"], line["fid_images"]) for line in found] == [(3, 8), (6, 8)]
    assert [line for line in measured if line not in found] == plain


def test_weights_are_not_fetched_by_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "find_inception_weights", lambda weights=None: None)
    with pytest.raises(UsageError, match=r"^--fid-every needs torch-fidelity's Inception weights"):
        periodic.inception(torch.device("cpu"))
