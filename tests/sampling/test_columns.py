"""Sheets of many faces are about square, and a prompt's faces fill whole rows where that is possible."""

import pytest

from celebgen_cli.sampling.sheets import columns_for


def test_few_faces_stand_in_one_row() -> None:
    assert [columns_for(n, 3 * n) for n in range(1, 9)] == [None, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("seeds", "columns"), [(9, 3), (10, 5), (11, 4), (12, 4), (20, 5), (64, 8), (100, 10)])
def test_many_faces_make_a_rectangle(seeds: int, columns: int) -> None:
    assert columns_for(seeds, seeds) == columns


@pytest.mark.parametrize(
    ("prompts", "seeds", "columns"), [(12, 16, 16), (2, 64, 16), (3, 100, 20), (50, 16, 16), (2, 11, 5), (9, 11, 11)]
)
def test_many_prompts_stand_below_each_other(prompts: int, seeds: int, columns: int) -> None:
    assert columns_for(seeds, prompts * seeds) == columns


def test_no_sheet_is_a_strip() -> None:
    for seeds in range(9, 400):
        columns = columns_for(seeds, seeds)
        assert columns is not None
        rows = -(-seeds // columns)
        assert 0.5 <= columns / rows <= 3.2
        assert columns * (rows - 1) < seeds
