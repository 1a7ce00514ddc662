"""Targets of drawn latents: the map between Gaussians, what is compared, and when targets are told anew."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.spectrum import RINGS
from celebgen_cli.training import adversarial, transport
from celebgen_cli.training.batches import Examples, training_and_held_out
from celebgen_cli.training.drawn import Drawn
from celebgen_cli.training.perceptual import LPIPS
from celebgen_cli.training.transport import Targets, Transport, find_targets, pooled_features, transport_map
from tests.likeness import made_up
from tests.networks import tiny_cvae, tiny_text


def features(count: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, 6, generator=generator, dtype=torch.double)
    return scale * torch.randn(count, 6, generator=generator, dtype=torch.double) @ mix + seed


def test_the_map_takes_one_gaussian_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RIDGE", 1e-9)
    fake, real = features(400, 1), features(300, 2, 2.0)
    matrix, offset = transport_map(fake, real)
    moved = fake @ matrix + offset
    torch.testing.assert_close(moved.mean(0), real.mean(0))
    torch.testing.assert_close(torch.cov(moved.T, correction=0), torch.cov(real.T, correction=0), rtol=1e-5, atol=1e-5)


def test_the_map_is_the_one_that_moves_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost is the Frechet distance, by SciPy's root; a map that whitens first also fits, and costs more."""
    monkeypatch.setattr(transport, "RIDGE", 1e-9)
    fake, real = features(400, 1), features(300, 2, 2.0)
    matrix, offset = transport_map(fake, real)
    torch.testing.assert_close(matrix, matrix.T)
    have, want = (torch.cov(x.T, correction=0).numpy() for x in (fake, real))
    root = scipy.linalg.sqrtm(have @ want).real
    least = float((fake.mean(0) - real.mean(0)).square().sum()) + float(np.trace(have + want - 2 * root))
    moved = fake @ matrix + offset

    def cost(there: torch.Tensor) -> float:
        step = there - fake
        return float(step.mean(0).square().sum() + step.var(0, correction=0).sum())

    assert cost(moved) == pytest.approx(least, rel=1e-6)
    whiten = torch.linalg.inv(torch.linalg.cholesky(torch.from_numpy(have))).T
    other = (fake - fake.mean(0)) @ whiten @ torch.linalg.cholesky(torch.from_numpy(want)).T + real.mean(0)
    torch.testing.assert_close(torch.cov(other.T, correction=0), torch.cov(real.T, correction=0))
    assert cost(other) > 1.01 * least


def test_fewer_pictures_than_channels() -> None:
    matrix, offset = transport_map(features(3, 1), features(4, 2))
    assert matrix.isfinite().all()
    assert offset.isfinite().all()
    one, _ = transport_map(torch.ones(1, 1), torch.tensor([[2.0], [2.0]]))
    assert one.isfinite().all()


@pytest.fixture(scope="module")
def alexnet() -> LPIPS:
    return LPIPS(*made_up())


def pool(seed: int = 7) -> Drawn:
    latents = torch.randn(9, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Drawn(latents.half(), ["man", "bald man", "smiling woman"] * 3)


def fading() -> Calibration:
    response = torch.ones(3, RINGS)
    response[1:, 8:] = 0
    return Calibration(torch.zeros(4, 8, 8), torch.zeros(4, 3), torch.ones(4, 3), response)


def found(dataset: Path, folder: Path, alexnet: LPIPS, **other: Any) -> Targets:
    train, _ = training_and_held_out(open_dataset(dataset))
    given: dict[str, Any] = {
        "pool": pool(), "cvae": tiny_cvae(), "examples": train, "calibration": None, "seed": 0, "begun": False, **other,
    }  # fmt: skip
    return find_targets(
        folder, given["pool"], given["cvae"], tiny_text(), given["examples"], [alexnet], given["calibration"],
        given["seed"], begun=given["begun"], mixed=nullcontext,
        progress=given.get("progress", lambda done, total: None),
    )  # fmt: skip


def decoded(cvae: CVAE, drawn: Drawn) -> torch.Tensor:
    with torch.no_grad():
        return cvae.decode(drawn.latents.float(), tiny_text()(drawn.captions))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks see pictures where they are."""
    monkeypatch.setattr(adversarial, "SHIFT", 0)


def test_a_layer_is_its_mean_and_its_deviation_over_positions(alexnet: LPIPS) -> None:
    images = torch.rand(2, 3, 32, 32, generator=rng()) * 2 - 1
    found = pooled_features([alexnet, alexnet], images)
    assert len(found) == 20
    for i, layer in enumerate(alexnet.layers(images)):
        flat = layer.flatten(2)
        torch.testing.assert_close(found[2 * i], flat.mean(2))
        torch.testing.assert_close(found[2 * i + 1], (flat.var(2, correction=0) + 1e-3).sqrt())
        torch.testing.assert_close(found[10 + 2 * i], flat.mean(2))
    images.requires_grad_()
    sum(part.sum() for part in pooled_features([alexnet], torch.zeros_like(images) * images)).backward()  # type: ignore[union-attr]
    assert images.grad is not None and images.grad.isfinite().all()


def test_targets_have_the_mean_and_spread_of_photographs(
    dataset32: Path, tmp_path: Path, alexnet: LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And come from the pictures that the decoder makes of the pool; the ways are the costs of the maps."""
    monkeypatch.setattr(transport, "BATCH", 4)
    counted: list[tuple[int, int]] = []
    monkeypatch.setattr(transport, "random_sides", lambda count, generator: torch.zeros(count, dtype=torch.bool))
    targets = found(dataset32, tmp_path, alexnet, progress=lambda done, total: counted.append((done, total)))
    train, _ = training_and_held_out(open_dataset(dataset32))
    images = decoded(tiny_cvae(), pool())
    with torch.no_grad():
        fakes, reals = (pooled_features([alexnet], x) for x in (images, train.images(np.arange(len(train)))))
    channels = [c for c in (64, 192, 384, 256, 256) for _ in ("mean", "deviation")]
    assert [tuple(x.shape) for x in targets.features] == [(9, c) for c in channels]
    for goal, scale, way, fake, real in zip(
        targets.features, targets.scales, targets.ways, fakes, reals, strict=True
    ):
        matrix, offset = transport_map(fake, real)
        torch.testing.assert_close(goal, (fake.double() @ matrix + offset).float(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(goal.mean(0), real.mean(0), rtol=1e-3, atol=1e-3)
        # deep layers of pictures so small have one position, and no deviation that varies
        assert scale == pytest.approx(max(float(real.var(0, correction=0).sum()), 1e-6), rel=1e-3)
        assert way == pytest.approx(float((fake - goal).square().sum(1).mean()) / scale, rel=1e-2, abs=1e-6)
    torch.testing.assert_close(targets.coarse.float(), F.avg_pool2d(images, 4), rtol=1e-3, atol=1e-3)
    assert counted[-1] == (9 + len(train), 9 + len(train))
    assert [done for done, _ in counted] == sorted(done for done, _ in counted)


def test_pictures_are_looked_at_as_the_model_shows_them(
    dataset32: Path, tmp_path: Path, alexnet: LPIPS, still: None
) -> None:
    """Both where targets are told and where the decoder follows them; photographs are seen as they are."""
    targets = found(dataset32, tmp_path, alexnet, calibration=fading())
    images = decoded(tiny_cvae(), pool())
    shown = fading().develop(images)
    assert (shown - images).abs().max() > 0.1
    fake = pooled_features([alexnet], images, fading())
    torch.testing.assert_close(fake, pooled_features([alexnet], shown))
    plain = found(dataset32, tmp_path / "other", alexnet)
    assert targets.scales == plain.scales
    assert targets.ways != plain.ways
    distance, moved, left = Transport([alexnet], targets, fading())(images, np.arange(9), rng())
    assert float(left) == pytest.approx(1, rel=1e-3)
    assert float(distance) == pytest.approx(np.mean(targets.ways), rel=1e-3)
    assert float(moved) < 1e-3
    assert float(Transport([alexnet], targets)(images, np.arange(9), rng())[2]) > 1.01


def test_pictures_are_moved_before_the_networks_see_them(
    dataset32: Path, tmp_path: Path, alexnet: LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = found(dataset32, tmp_path, alexnet)
    images, see = decoded(tiny_cvae(), pool()), Transport([alexnet], targets)
    moved = adversarial.shifted(images, rng(3))
    monkeypatch.setattr(transport, "shifted", lambda x, generator: moved)
    expected = see(images, np.arange(9), rng(3))
    monkeypatch.undo()
    made = see(images, np.arange(9), rng(3))
    assert [float(x) for x in made] == [float(x) for x in expected]
    assert float(made[1]) < 1e-3  # coarse pictures are compared where they are
    assert len({float(see(images, np.arange(9), rng(seed))[0]) for seed in range(4)}) > 1


def test_a_small_pool_does_not_ask_for_all_photographs(
    dataset32: Path, tmp_path: Path, alexnet: LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int] = []
    for fewest, most in ((2, 5000), (20, 5000), (20, 10)):  # of a pool of 9
        monkeypatch.setattr(transport, "FEWEST", fewest)
        monkeypatch.setattr(transport, "PHOTOGRAPHS", most)
        found(dataset32, tmp_path / str(most + fewest), alexnet, progress=lambda done, total: totals.append(total))
    assert list(dict.fromkeys(totals)) == [9 + 18, 9 + 20, 9 + 10]


def test_the_distance_of_some_rows(alexnet: LPIPS, still: None) -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own = pooled_features([alexnet], images)
    rows = np.array([4, 0, 2])
    goals, coarse = [torch.zeros(5, x.shape[1]) for x in own], torch.zeros(5, 3, 8, 8).half()
    for goal, x in zip(goals, own, strict=True):
        goal[rows] = x
    coarse[rows] = (F.avg_pool2d(images, 4) + 0.25).half()
    targets = Targets(goals, [float(i + 1) for i in range(10)], [0.5] + 9 * [1.0], coarse)
    distance, moved, left = Transport([alexnet], targets)(images, rows, rng())
    assert float(distance) == float(left) == 0
    assert float(moved) == pytest.approx(0.25, abs=1e-3)
    goals[0][4, 7] += 6  # of one picture of three, in the first of ten, of scale 1 and way 1/2
    distance, _, left = Transport([alexnet], targets)(images, rows, rng())
    assert float(distance) == pytest.approx(36 / 3 / 10, rel=1e-4)
    assert float(left) == pytest.approx(36 / 3 / 10 / 0.95, rel=1e-4)


def test_targets_are_told_once(
    dataset32: Path, tmp_path: Path, alexnet: LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(dataset32, tmp_path, alexnet)
    monkeypatch.setattr(transport, "pooled_features", lambda *_: pytest.fail("looked twice"))
    for second in (found(dataset32, tmp_path, alexnet), found(dataset32, tmp_path, alexnet, begun=True)):
        assert all(torch.equal(a, b) for a, b in zip(first.features, second.features, strict=True))
        assert (first.scales, first.ways) == (second.scales, second.ways)
        assert torch.equal(first.coarse, second.coarse)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_a_run_without_checkpoints_knows_another_decoder(dataset32: Path, tmp_path: Path, alexnet: LPIPS) -> None:
    """A run that has some goes on with its targets, whatever its decoder has become."""
    first = found(dataset32, tmp_path, alexnet)
    later = found(dataset32, tmp_path, alexnet, cvae=tiny_cvae(5), begun=True)
    assert torch.equal(first.features[0], later.features[0])
    other = found(dataset32, tmp_path, alexnet, cvae=tiny_cvae(5))
    assert not torch.equal(first.features[0], other.features[0])
    assert len(list(tmp_path.iterdir())) == 1


def test_other_latents_pictures_or_colours_are_other_targets(dataset32: Path, tmp_path: Path, alexnet: LPIPS) -> None:
    train, _ = training_and_held_out(open_dataset(dataset32))
    few = Examples(train.split, train.rows[:20])
    found(dataset32, tmp_path, alexnet)
    for other in ({"pool": pool(8)}, {"examples": few}, {"calibration": fading()}, {"seed": 1}):
        before = len(list(tmp_path.iterdir()))
        found(dataset32, tmp_path, alexnet, **other, begun=True)
        assert len(list(tmp_path.iterdir())) == before + 1, other
