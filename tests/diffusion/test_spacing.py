from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebgen_cli.diffusion.schedule import Schedule, trailing_timesteps
from celebgen_cli.diffusion.spacing import SPACINGS, spaced_timesteps
from celebgen_cli.errors import UsageError

SCHEDULE = Schedule.cosine(1000)


def log_snr(t: int) -> float:
    bar = SCHEDULE.alpha_bar(t)
    return math.log(bar / (1 - bar))


@given(st.sampled_from(SPACINGS), st.integers(2, 300), st.data())
def test_any_spacing_starts_exactly_at_its_level_and_descends(
    spacing: str, timesteps: int, data: st.DataObject
) -> None:
    start = data.draw(st.sampled_from([1.0, 0.9, 0.5]))
    level = round(start * timesteps)
    steps = data.draw(st.integers(1, level))
    made = spaced_timesteps(Schedule.cosine(timesteps), steps, spacing, start)
    assert (made[0], len(made)) == (level, steps)
    assert all(a > b for a, b in zip(made, made[1:], strict=False))
    assert made[-1] >= 1


def test_trailing_is_as_ever() -> None:
    assert spaced_timesteps(SCHEDULE, 5) == [1000, 800, 600, 400, 200]
    assert spaced_timesteps(SCHEDULE, 7, start=0.9) == trailing_timesteps(1000, 7, 0.9)


def test_early_by_value() -> None:
    """4 steps: 1 - (1/4)^2 and so on, to the power of 3/4: 1, 0.9527, 0.8059, 0.5378."""
    assert spaced_timesteps(SCHEDULE, 4, "early") == [1000, 953, 806, 538]
    assert spaced_timesteps(SCHEDULE, 9, "early") == [1000, 991, 963, 915, 848, 758, 643, 498, 310]
    assert spaced_timesteps(SCHEDULE, 2, "early", 0.5) == [500, 403]


def test_quadratic_by_value() -> None:
    assert spaced_timesteps(SCHEDULE, 5, "quadratic") == [1000, 640, 360, 160, 40]
    assert spaced_timesteps(SCHEDULE, 4, "quadratic", 0.8) == [800, 450, 200, 50]
    assert spaced_timesteps(Schedule.cosine(6), 5, "quadratic") == [6, 4, 3, 2, 1]  # 3.84, 2.16, 0.96 and 0.24


@pytest.mark.parametrize("start", [1.0, 0.9])
def test_log_snr_is_even_to_half_a_level(start: float) -> None:
    made = spaced_timesteps(SCHEDULE, 12, "logsnr", start)
    low = log_snr(999 if start == 1 else 900)
    for i, t in enumerate(made[1:], 1):
        wanted = low + (log_snr(1) - low) * i / 12
        beside = (log_snr(t + 1), log_snr(t - 1) if t > 1 else math.inf)
        assert (log_snr(t) + beside[0]) / 2 <= wanted <= (log_snr(t) + beside[1]) / 2


def test_all_levels_are_the_same_whatever_the_spacing() -> None:
    for spacing in SPACINGS:
        assert spaced_timesteps(Schedule.cosine(40), 40, spacing) == list(range(40, 0, -1))


def test_what_cannot_be_spaced() -> None:
    with pytest.raises(UsageError, match="no spacing 'linear'; choose one of trailing, early, quadratic, logsnr"):
        spaced_timesteps(SCHEDULE, 5, "linear")
    for spacing in SPACINGS:
        with pytest.raises(UsageError, match="from 1 to 20, not 21"):
            spaced_timesteps(SCHEDULE, 21, spacing, 0.02)
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            spaced_timesteps(SCHEDULE, 5, spacing, 0.0)
