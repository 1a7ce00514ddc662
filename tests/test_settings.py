"""What decides a face: defaults, a model's own, and what is refused."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.diffusion.spacing import spaced_timesteps
from celebgen_cli.errors import UsageError
from celebgen_cli.settings import DEFAULTS, NEUTRAL, check_settings, complete

NAMES = [*DEFAULTS, *NEUTRAL]


def test_given_settings_come_before_a_models_own_and_those_before_the_defaults() -> None:
    made = complete({"steps": 8, "rescale": 0.3, "of another version": 1}, {"steps": 5, "guidance": None}, 1000)
    assert made == {**DEFAULTS, **NEUTRAL, "rescale": 0.3, "steps": 5}
    assert list(made) == NAMES
    assert json.loads(json.dumps(complete({}, {"guidance_interval": (0.1, 0.5)}, 1000))) == {
        **DEFAULTS, **NEUTRAL, "guidance_interval": [0.1, 0.5],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"eta": 1.5}, "--eta must be from 0 to 1, not 1.5"),
        ({"eta": 0.5, "sampler": "ddpm"}, "means nothing to ddpm; add --sampler ddim"),
        ({"spacing": "karras"}, "there is no spacing 'karras'; choose one of trailing, early, quadratic, logsnr"),
        ({"rescale": -0.1}, "--rescale must be from 0 to 1, not -0.1"),
        ({"start": 0.0}, "--start must be above 0 and at most 1, not 0"),
        ({"start": 1.1}, "--start must be above 0 and at most 1, not 1.1"),
        ({"start": 1e-9}, "--start must be above 0"),
        ({"start": 0.5, "steps": 501}, "--steps must be from 1 to 500, not 501"),
        ({"steps": 2.5}, "--steps must be from 1 to 1000, not 2.5"),
        ({"steps": True}, "--steps must be"),
        ({"guidance": "strong"}, "--guidance must be from 0 to 100, not strong"),
        ({"guidance_interval": 0.5}, "--guidance-interval must be two numbers"),
        ({"sampler": ["ddim"]}, "there is no sampler"),
        ({"cfg": 3}, "there is no setting 'cfg'; choose from sampler, steps"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        complete({}, settings, 1000)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2000), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["ddim", "ddpm", "dpmpp_2m", "angle_2s", "trailing", "quadratic", "logsnr"]),
    st.lists(st.floats(-0.5, 1.5) | st.text(max_size=2), max_size=3), st.dictionaries(st.text(max_size=2), st.none()),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), anything))
def test_whatever_is_given_works_or_is_refused_in_a_sentence(given: dict[str, Any]) -> None:
    try:
        made = complete({}, given, 1000)
    except UsageError as error:
        assert str(error).strip()
        return
    timesteps = spaced_timesteps(Schedule.cosine(1000), made["steps"], made["spacing"], made["start"])
    assert len(timesteps) == made["steps"]
    assert all(math.isfinite(made[name]) for name in ("guidance", "eta", "rescale"))


def test_a_check_of_a_few_settings_alone() -> None:
    check_settings(20, "ddim", 1.5, 1000)
    with pytest.raises(UsageError, match="--steps must be from 1 to 10, not 20"):
        check_settings(20, "ddim", 1.5, 10)
