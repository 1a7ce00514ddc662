"""What a command that resumes takes from the run before it."""

import json
from pathlib import Path
from typing import Any

import pytest

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.order import Order
from tests.training.toy import CONFIG, trainer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trainer(tmp_path / "run").train()
    return tmp_path / "run"


def test_settings_of_the_run_before(run: Path) -> None:
    assert Order(run, run, resume=True).config({}, "tiny") == CONFIG
    assert Order(run, run, {"steps": 50}, resume=True).config({}, "tiny").steps == 50
    assert Order(run, run).before == {}


@pytest.mark.parametrize(("change", "says"), [
    ({"train": None}, "TrainConfig|None"),
    ({"train": {"steps": 3}}, "missing 1 required positional argument: .batch_size"),
    ({"train": {"steps": "x", "batch_size": 8}}, "steps is .x."),
    ({"train": {"steps": 3, "batch_size": 8, "of_tomorrow": 1}}, "TrainConfig has no of_tomorrow"),
    ({"data": None}, "data is None"),
    ({"captions": []}, r"captions is \[\]"),
])  # fmt: skip
def test_a_file_that_was_altered(run: Path, change: dict[str, Any], says: str) -> None:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (run / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
    with pytest.raises(CelebgenError, match=rf"is not as training wrote it \(.*({says}).*put it back"):
        _ = Order(run, run, resume=True).before
