"""What processes ask of one another: shares, and errors that leave nobody waiting."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from celebgen_cli import spread
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.pipeline import load_model
from celebgen_cli.processes import World


@pytest.mark.parametrize(("count", "size"), [(7, 3), (2, 4), (0, 2), (8, 1)])
def test_parts_are_all_of_it_and_alike(count: int, size: int) -> None:
    found = spread.parts(count, World(rank=0, size=size))
    assert [i for part in found for i in range(count)[part]] == list(range(count))
    lengths = [len(range(count)[part]) for part in found]
    assert len(found) == size and max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("mine", "theirs", "says"),
    [(UsageError("mine"), "face", "mine"), ("face", CelebgenError("theirs"), "theirs"), ("a", "b", None)],
)
def test_an_error_is_raised_when_all_have_answered(
    monkeypatch: pytest.MonkeyPatch, mine: Any, theirs: Any, says: str | None
) -> None:
    """In the main process too: else the others would wait for it to gather, and be asked for something else."""
    sent, gathered = [], []

    def gather(value: Any, into: list[Any], dst: int, group: Any) -> None:
        gathered.append(value)
        into[:] = [value, theirs]

    def own() -> Any:
        if isinstance(mine, CelebgenError):
            raise mine
        return mine

    monkeypatch.setattr(spread, "_send", sent.append)
    monkeypatch.setattr(dist, "gather_object", gather)
    shares: list[tuple[Any, ...]] = [(1,), (2,)]
    if says is None:
        assert spread.ask("sample", shares, own) == ["a", "b"]
    else:
        with pytest.raises(CelebgenError, match=says):
            spread.ask("sample", shares, own)
    assert sent == [[None, ("sample", (2,))]] and gathered == [mine]


def test_of_few_things_the_main_process_has_one() -> None:
    """It is the one that tells how far it has got."""
    assert [len(range(1)[part]) for part in spread.parts(1, World(rank=0, size=3))] == [1, 0, 0]


def test_processes_refuse_what_one_refuses(model_folder: Path) -> None:
    one = load_model(model_folder, "cpu", "fp32")
    many = spread.SpreadModel(**{field.name: getattr(one, field.name) for field in fields(one)})
    for prompts, seeds, size, says in (
        (["man"], [0, 1], 4, "as many seeds"), (["man"] * 2, [0], 4, "as many seeds"), (["man"], [0], 0, "batch-size"),
    ):  # fmt: skip
        for model in (one, many):
            with pytest.raises(UsageError, match=says):
                model.sample(prompts, seeds, batch_size=size, steps=1)
