"""Sizes from JSON: lists become tuples, and values of another type are named."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from celebgen_cli.models.cvae import CVAEConfig
from celebgen_cli.models.judge import JudgeConfig
from celebgen_cli.models.presets import CLIPConfig
from celebgen_cli.models.sizes import sizes_from
from celebgen_cli.models.unet import UNetConfig
from celebgen_cli.training.task import TrainConfig


@pytest.mark.parametrize("sizes", [CVAEConfig(), UNetConfig(widths=(8, 16, 24)), JudgeConfig(), CLIPConfig(width=12)])
def test_sizes_come_back_from_json(sizes: Any) -> None:
    assert sizes_from(type(sizes), json.loads(json.dumps(asdict(sizes)))) == sizes


def test_what_is_left_out_keeps_its_default() -> None:
    assert sizes_from(CVAEConfig, {"blocks": 1, "prior_log_std_min": -2}) == CVAEConfig(blocks=1, prior_log_std_min=-2)


def test_what_has_no_default_has_a_type() -> None:
    whole = TrainConfig(4, 2, learning_rate=1)
    assert sizes_from(TrainConfig, json.loads(json.dumps(asdict(whole)))) == whole
    with pytest.raises(TypeError, match="steps is 'x'"):
        sizes_from(TrainConfig, {**asdict(whole), "steps": "x"})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"blocks": "2"}, "blocks is '2'"),
        ({"blocks": True}, "blocks is True"),
        ({"blocks": None}, "blocks is None"),
        ({"widths": 8}, "widths is 8, where .192, 256. would be usual"),
        ({"widths": [8, 1.5]}, "widths is"),
        ({"init": 1}, "init is 1"),
        ({"depth": 1}, "UNetConfig has no depth"),
        ({"blocks": 10**12}, "blocks is 1000000000000, more than any network here has"),
        ({"widths": [64] * 10**6}, "widths is .*, more than any"),
        ({"latent_channels": 1 << 20}, "latent_channels is 1048576, more"),
    ],
)
def test_wrong_values_are_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        sizes_from(UNetConfig, values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, True])
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(TypeError, match="prior_log_std_min"):
        sizes_from(CVAEConfig, {"prior_log_std_min": value})
