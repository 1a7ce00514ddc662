"""What a grid is made of: cells, labels, what one face costs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation.grids import Grid, cell_row, cells_of, check, describe, labels_of, network_calls
from celebgen_cli.evaluation.options import Options
from celebgen_cli.pipeline import Model, load_model
from tests.networks import write_tiny_model


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("arms")
    return [str(write_tiny_model(folder / init, init=init)) for init in ("prior", "noise")]


@pytest.fixture(scope="module")
def model(arms: list[str]) -> Model:
    return load_model(arms[0], "cpu", "fp32")


@pytest.mark.parametrize(
    "given",
    [
        {"guidance": 1.0}, {"guidance": 2.0}, {"guidance": 0.0}, {"sampler": "dpmpp_2m"},
        {"sampler": "angle_2s", "steps": 6}, {"sampler": "ddpm"}, {"eta": 0.5},
        {"guidance": 3.0, "guidance_interval": [0.3, 0.8], "steps": 7},
        {"start": 0.6}, {"spacing": "logsnr", "guidance_interval": [0.0, 0.5]},
    ],
)  # fmt: skip
def test_calls_are_the_rows_that_the_network_sees(model: Model, given: dict[str, object]) -> None:
    seen: list[int] = []
    hook = model.unet.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    try:
        model.sample(["man", "woman", ""], [0, 1, 2], **{"steps": 5, "pag": True, **given})  # type: ignore[arg-type]
    finally:
        hook.remove()
    assert network_calls(model.settings(**{"steps": 5, **given}), model.schedule) == sum(seen) / 3


def test_cells_of_a_grid(arms: list[str]) -> None:
    grid = Grid(arms, [2, 4], ["ddim", "ddpm"], [1.0, None], [0, 3])
    cells = list(cells_of(grid, Options(num=10, sampling={"negative": "man"})))
    assert len(cells) == 2 * 2 * 2 * 2 * 2
    assert [cell.set for cell in cells] == [0] * 16 + [3] * 16 and {cell.seed for cell in cells} == {0, 30}
    assert [cell.label for cell in cells[:16]] == ["prior"] * 8 + ["noise"] * 8
    assert {(cell.label, cell.init) for cell in cells} == {("prior", "prior"), ("noise", "noise")}
    first = cells[0]
    assert first.settings["negative"] == "man" and first.settings["calibrate"] is True and first.settings["eta"] == 0
    assert (first.settings["steps"], first.settings["guidance"], first.calls) == (2, 1.0, 2)
    assert (cells[2].settings["guidance"], cells[2].calls) == (2.0, 4)  # the model's own guidance has two branches
    assert describe(cells[-1]) == "ddpm, guidance 2, 4 steps, set 3"
    assert first.sha256 == load_model(arms[0], "cpu").sha256


def test_spacings_are_varied_and_named_where_they_are_not_even(arms: list[str]) -> None:
    cells = list(cells_of(Grid(arms[:1], [4], ["ddim"], spacings=[None, "early"]), Options(num=10)))
    assert [describe(cell) for cell in cells] == ["ddim, guidance 2, 4 steps", "ddim, early, guidance 2, 4 steps"]
    figures = {"fid": 1.0, "seconds": 2.0}
    assert [cell_row(cell, figures)["sampler"] for cell in cells] == ["ddim", "ddim, early"]


def test_settings_that_come_to_the_same_are_one_cell(arms: list[str]) -> None:
    assert len(list(cells_of(Grid(arms[:1], [3, None], [None, "ddim"], [2.0, None]), Options(num=10)))) == 1


def test_labels_tell_models_apart() -> None:
    assert labels_of([None, "runs/a/model", "runs/b"], ["box", "x", "x"]) == ["box", "model", "b"]
    assert labels_of(["runs/a/model", "runs/b/model"], ["x", "x"]) == ["runs/a/model", "runs/b/model"]


@pytest.mark.parametrize(
    ("grid", "num", "says"),
    [
        (Grid(models=[]), 10, "at least one of its models"),
        (Grid(steps=[]), 10, "at least one of its steps"),
        (Grid(metrics=["fid", "beauty"]), 10, "no metric 'beauty' for a grid; choose from fid, obedience"),
        (Grid(models=["a", "a"]), 10, "named twice"),
        (Grid(), 1, "--num must be at least 2"),
        (Grid(seeds=[0, 2**32]), 10, "--seeds counts sets, from 0 to 429496728 where a set has 10"),
    ],
)
def test_what_is_no_grid(grid: Grid, num: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check(grid, num)


def test_settings_that_cannot_be_are_found_before_anything_is_drawn(arms: list[str], tmp_path: Path) -> None:
    for grid in (Grid(arms, [2, 5000]), Grid(arms, [2], ["euler"]), Grid(arms, [2], [None], [-1.0])):
        with pytest.raises(UsageError):
            list(cells_of(grid, Options(num=4)))
