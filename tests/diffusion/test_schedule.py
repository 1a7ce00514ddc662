from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from celebgen_cli.diffusion.schedule import Schedule, broadcast, trailing_timesteps
from celebgen_cli.errors import CelebgenError, UsageError


def test_ends_are_exact_and_alpha_bar_falls() -> None:
    bar = Schedule.cosine(1000).alphas_cumprod
    assert bar.shape == (1001,)
    assert bar.dtype == torch.float64
    assert bar[0] == 1
    assert bar[-1] == 0
    assert (bar.diff() < 0).all()


@pytest.mark.parametrize("t", [1, 10, 500, 900, 999])
def test_cosine_by_the_published_formula(t: int) -> None:
    def f(t: float) -> float:
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    assert Schedule.cosine(1000).alpha_bar(t) == pytest.approx(f(t) / f(0), rel=1e-9)


def test_agrees_with_diffusers_up_to_its_clipped_last_step() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    ours = Schedule.cosine(1000).alphas_cumprod[1:]
    torch.testing.assert_close(ours[:-1].float(), theirs[:-1], rtol=2e-3, atol=1e-6)
    assert theirs[-1] > 0  # the published schedule leaves a little signal at T; this one must not
    assert ours[-1] == 0


def test_lookups_agree_with_alpha_bar_and_broadcast() -> None:
    schedule = Schedule.cosine(1000)
    t = torch.tensor([0, 1, 300, 1000])
    bar = schedule.alphas_cumprod[t]
    images = torch.zeros(4, 3, 2, 2)
    for name, expected in {
        "alpha": bar.sqrt(),
        "sigma": (1 - bar).sqrt(),
        "variance": 1 - bar,
        "snr": torch.tensor([math.inf, *(bar / (1 - bar))[1:]], dtype=torch.float64),
    }.items():
        values = getattr(schedule, name)(t)
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, expected.float())
        assert getattr(schedule, name)(t, images).shape == (4, 1, 1, 1)
        assert getattr(schedule, name)(t, images.double()).dtype == torch.float64
        assert getattr(schedule, name)(300, images) == values[2]
    assert schedule.alpha(1000) == 0
    assert schedule.sigma(1000) == 1


def test_a_single_timestep_is_checked() -> None:
    schedule = Schedule.cosine(10)
    for t in (-1, 11):
        with pytest.raises(ValueError, match="outside 0..10"):
            schedule.alpha(t)
        with pytest.raises(ValueError, match="outside 0..10"):
            schedule.alpha_bar(t)


def test_broadcast_leaves_a_single_value_alone() -> None:
    assert broadcast(torch.ones(2), torch.ones(2, 3)).shape == (2, 1)
    assert broadcast(torch.tensor(1.0), torch.ones(2, 3)).shape == ()


def test_tables_first_used_in_inference_mode_still_serve_training() -> None:
    schedule = Schedule.cosine(123)
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        schedule.alpha(3, x)
    (schedule.alpha(3, x) * x).sum().backward()
    assert x.grad is not None
    assert x.grad[0] == schedule.alpha(3)


def test_dict_round_trip_through_json() -> None:
    schedule = Schedule(timesteps=50, offset=0.01)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "linear"}, "'linear'"),
        ({"timesteps": 1}, "above 1, not 1"),
        ({"timesteps": "1000"}, "above 1, not '1000'"),
        ({"offset": -0.1}, "at least 0, not -0.1"),
        ({"offset": math.nan}, "at least 0, not nan"),
        ({"offset": "0"}, "at least 0, not '0'"),
        ({"beta_end": 0.02}, "no such setting: beta_end"),
    ],
)
def test_unusable_schedules_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(CelebgenError, match=message):
        Schedule.from_dict(values)


def test_trailing_timesteps_by_value() -> None:
    assert trailing_timesteps(1000, 5) == [1000, 800, 600, 400, 200]
    assert trailing_timesteps(1000, 1) == [1000]
    assert trailing_timesteps(7, 7) == [7, 6, 5, 4, 3, 2, 1]
    assert trailing_timesteps(1000, 3) == [1000, 667, 333]


@pytest.mark.parametrize("steps", [1, 3, 7, 20, 30, 50, 64, 999, 1000])
def test_trailing_timesteps_are_those_of_diffusers(steps: int) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert np.array_equal(np.array(trailing_timesteps(1000, steps)) - 1, scheduler.timesteps.numpy())


@pytest.mark.parametrize("start", [1.0, 0.95, 0.5, 0.033])
@pytest.mark.parametrize("steps", [1, 4, 33])
def test_trailing_timesteps_start_late_and_descend(start: float, steps: int) -> None:
    timesteps = trailing_timesteps(1000, steps, start)
    assert timesteps[0] == round(1000 * start)
    assert len(timesteps) == steps
    assert all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))
    assert timesteps[-1] >= 1


def test_step_counts_and_starts_out_of_range() -> None:
    for steps in (0, -1, 1001):
        with pytest.raises(UsageError, match=f"from 1 to 1000, not {steps}"):
            trailing_timesteps(1000, steps)
    with pytest.raises(UsageError, match="from 1 to 20, not 21"):
        trailing_timesteps(1000, 21, 0.02)
    for start in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            trailing_timesteps(1000, 10, start)
