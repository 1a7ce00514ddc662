"""Groups of options: a dataclass's fields are options of the command, and the command gets the dataclass."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from celebgen_cli.cli.groups import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--width", min=1, help="How wide.")]
    deep: Annotated[bool, typer.Option("--deep/--flat")] = False
    folder: Annotated[Path | None, typer.Option("--folder")] = None


@grouped
def build(name: str, size: Size, seed: Annotated[int, typer.Option("--seed")] = 7) -> None:
    """Build it."""
    print(name, size, seed)


def ran(*words: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(build)
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_fields_are_options() -> None:
    assert ran("it", "--width", "3") == (0, f"it {Size(3)} 7\n")
    said = f"it {Size(3, True, Path('a'))} 1\n"
    assert ran("it", "--width", "3", "--deep", "--folder", "a", "--seed", "1") == (0, said)


@pytest.mark.parametrize("words", [("it",), ("it", "--width", "0"), ("it", "--width", "3", "--size", "4")])
def test_what_fields_demand_is_demanded(words: tuple[str, ...]) -> None:
    assert ran(*words)[0] == 2


def test_parameters_stand_in_order_with_their_types() -> None:
    assert [*inspect.signature(build).parameters] == ["name", "width", "deep", "folder", "seed"]
    types = get_type_hints(inspect.unwrap(build))
    assert types["width"] is int
    assert types["folder"] == Path | None
    assert "size" not in types
    assert build.__doc__ == "Build it."
