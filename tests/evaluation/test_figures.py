"""Figures by name, conditions on them, and which of two reports is better."""

from __future__ import annotations

import pytest

from celebgen_cli.cli import evaluate_report
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation.figures import FIGURES, differences, figures_of, parse_condition
from celebgen_cli.evaluation.report_parts import PARTS

ALL = list(PARTS)


def test_figures_are_where_the_parts_have_them() -> None:
    spaces = {"inception": {"below_1_percent": 0.02, "nearer": 0.4}, "latent": {"below_1_percent": 0.01, "nearer": 0.6}}
    parts = {
        "fid": {"fid": 30.5, "kid": None}, "prc": {"precision": 0.5, "recall": 0.25},
        "reconstruction": {"psnr": 28.0, "rfid": float("nan"), "prior": {"nll": 1.25}},
        "memorization": {"spaces": spaces, "diversity": None},
    }  # fmt: skip
    assert figures_of(parts) == {
        "fid": 30.5, "precision": 0.5, "recall": 0.25, "psnr": 28.0, "prior_nll": 1.25, "copied": 0.02, "nearer": 0.6,
    }  # fmt: skip


def test_every_figure_has_a_part_and_is_named_in_the_help() -> None:
    assert {figure.part for figure in FIGURES.values()} == set(PARTS)
    listed = (evaluate_report.report.__doc__ or "").split("and a number:")[1].split(".\n")[0]
    assert [name.strip() for name in listed.split(",")] == list(FIGURES)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("fid>25", True), ("fid > 30.5", False), ("fid>=30.5", True), ("fid<30.5", False), (" fid<=3.05e1 ", True),
        ("kid>0", None), ("psnr<-1", False), ("psnr<+28.1", True),
    ],
)  # fmt: skip
def test_conditions(text: str, holds: bool | None) -> None:
    assert parse_condition(text, ALL).holds({"fid": 30.5, "psnr": 28.0}) is holds


@pytest.mark.parametrize(
    "text",
    ["fid", "fid=25", "fid==25", ">25", "fid>", "fid>x", "fid>25 25", "fid>1.2.3", "fid>nan", "fid>1e999", ""],
)
def test_malformed_conditions(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fail-if takes a figure, one of < <= > >= and a number, such as fid>25"):
        parse_condition(text, ALL)


def test_a_condition_names_a_figure_that_is_measured() -> None:
    with pytest.raises(UsageError, match="no figure 'beauty' here; the figures are fid, kid, precision"):
        parse_condition("beauty>1", ALL)
    with pytest.raises(UsageError, match="no figure 'psnr' here; the figures are fid, kid$"):
        parse_condition("psnr<20", ["fid"])


def test_better_is_each_figures_own_direction() -> None:
    mine = {"fid": 30.0, "precision": 0.5, "recall": 0.2, "psnr": 28.0, "kid": 0.1}
    other = {"fid": 31.0, "precision": 0.4, "recall": 0.3, "psnr": 28, "beauty": 1.0}
    found = {one.name: one for one in differences(mine, other)}
    assert {name: one.verdict for name, one in found.items()} == {
        "fid": "better", "precision": "better", "recall": "worse", "psnr": "same",
    }  # fmt: skip
    assert found["fid"].change == -1.0
    assert [one.verdict for one in differences(other, mine)] == ["worse", "worse", "better", "same"]
