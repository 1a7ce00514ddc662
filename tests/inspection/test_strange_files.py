"""Files that people edited, or that another program wrote: a report says less then, and never fails on them."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celebgen_cli.errors import CelebgenError
from celebgen_cli.inspection import datasets, models, runs
from celebgen_cli.inspection.report import Report
from tests.command import Chain

STRANGE = (None, "x", -1, 1.5, True, [], ["x"], {}, {"x": 1}, 10**30)


def altered(value: Any, depth: int = 0) -> Iterator[Any]:
    """The value with one part of it replaced, for every part down to the third level and every strange thing."""
    yield from STRANGE
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts if depth < 3 else ():
        for other in altered(part, depth + 1):
            whole = copy.copy(value)
            whole[key] = other
            yield whole


def of_model(folder: Path) -> Report:
    return models.inspect(folder, "")


@pytest.mark.parametrize(("name", "file", "inspect"), [
    ("dataset", "dataset.json", datasets.inspect),
    ("vae", "config.json", runs.inspect),
    ("unet", "config.json", runs.inspect),
    ("model", "model.json", of_model),
])  # fmt: skip
def test_no_value_is_beyond_a_report(
    chain: Chain, tmp_path: Path, name: str, file: str, inspect: Callable[[Path], Report]
) -> None:
    folder = tmp_path / "it"
    folder.mkdir()
    for path in Path(getattr(chain, name)).iterdir():
        if path.suffix in (".json", ".jsonl"):
            shutil.copy(path, folder)
    whole = json.loads((folder / file).read_text(encoding="utf-8"))
    inspect(folder).text()
    for other in altered(whole):
        (folder / file).write_text(json.dumps(other), encoding="utf-8")
        try:
            inspect(folder).text()
        except CelebgenError:
            continue
        except Exception as error:
            raise AssertionError(f"{error!r} of {other}") from error
