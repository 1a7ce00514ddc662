"""A grid is measured cell by cell, goes on where it stopped, and ends as tables and plots."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import ablation as module
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.ablation import Ablation, measure_grid
from celebgen_cli.evaluation.ablation_table import aligned, rows_of, text_table, write
from celebgen_cli.evaluation.drawn import conditions
from celebgen_cli.evaluation.extraction import statistics_of
from celebgen_cli.evaluation.grids import Cell, Grid
from celebgen_cli.evaluation.options import Options
from celebgen_cli.evaluation.sources import open_images
from celebgen_cli.evaluation.statistics import save_statistics
from tests.command import invoke, one_sentence
from tests.evaluation.conftest import StubExtractor, write_dataset
from tests.networks import write_tiny_model

Faces = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("arms")
    storages = {"prior": "fp32", "noise": "fp16"}  # other digests
    return [str(write_tiny_model(folder / init, init=init, storage=how)) for init, how in storages.items()]


@pytest.fixture
def dataset(tmp_path: Path, faces: Faces) -> str:
    return str(write_dataset(tmp_path / "data", *faces))


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch, extractor: StubExtractor) -> StubExtractor:
    monkeypatch.setattr(compare, "load_inception", lambda *args, **kwargs: extractor)
    return extractor


def cells_done(folder: Path) -> int:
    lines = (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["of"]["metric"] != "floor" for line in lines)


def test_a_cell_is_what_evaluate_fid_says(arms: list[str], dataset: str, tmp_path: Path) -> None:
    grid = Grid(arms, [1, 2], seeds=[0, 1], metrics=["fid"])
    made = measure_grid(grid, tmp_path / "out", dataset, Options(num=12))
    assert len(made.cells) == 8 and cells_done(tmp_path / "out") == 8
    for cell, figures in made.cells:
        steps = {"steps": cell.settings["steps"]}
        alone = compare.compare(
            cell.model, dataset, Options(num=12, seed=12 * cell.set, sampling=steps, cache=False, floor=False)
        )
        assert figures["fid"] == pytest.approx(alone.fid, rel=1e-9)
        assert figures["kid"] == pytest.approx(alone.kid, rel=1e-9)
    assert len({figures["fid"] for _, figures in made.cells}) == 8
    assert made.real["n"] == 60 and made.floor is not None and made.floor["fid"] > 0
    # one set more, and one number of steps less: only what is new is measured
    more = measure_grid(Grid(arms, [2], seeds=[0, 1, 2], metrics=["fid"]), tmp_path / "out", dataset, Options(num=12))
    assert cells_done(tmp_path / "out") == 10 and len(more.cells) == 6 and more.cells[0] == made.cells[1]
    assert more.floor == made.floor  # whichever cell comes first
    measure_grid(Grid(arms, [2], metrics=["fid"]), tmp_path / "out", dataset, Options(num=13))
    assert cells_done(tmp_path / "out") == 12  # another N is another figure


def test_statistics_that_have_features_now_are_another_reference(
    arms: list[str], dataset: str, tmp_path: Path, stub: StubExtractor
) -> None:
    grid, file = Grid(arms[:1], [1], metrics=["fid"]), tmp_path / "real.safetensors"
    whole = statistics_of(open_images(f"{dataset}:valid"), stub)
    for keep in (False, True):
        save_statistics(file, whole, keep_features=keep)
        made = measure_grid(grid, tmp_path / "out", str(file), Options(num=12))
        assert (made.cells[0][1].get("kid") is not None) == keep


def test_an_interrupted_grid_goes_on(
    arms: list[str], dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, options, calls = Grid(arms, [1, 2], metrics=["fid"]), Options(num=8), []
    real = compare.compare

    def stops(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[0])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(compare, "compare", stops)
    with pytest.raises(KeyboardInterrupt):
        measure_grid(grid, tmp_path / "out", dataset, options)
    assert cells_done(tmp_path / "out") == 2 and not (tmp_path / "out" / ".lock").exists()
    data = (tmp_path / "out" / "cells.jsonl").read_bytes()
    (tmp_path / "out" / "cells.jsonl").write_bytes(data[:-20])  # as if killed while the second was written
    made = measure_grid(grid, tmp_path / "out", dataset, options)
    assert len(calls) == 3 + 3 and cells_done(tmp_path / "out") == 4
    assert all(figures["fid"] > 0 for _, figures in made.cells)
    measure_grid(grid, tmp_path / "out", dataset, options)
    assert len(calls) == 6


def test_other_code_device_or_precision_is_another_cell(
    arms: list[str], dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, options = Grid(arms[:1], [1], metrics=["fid"]), Options(num=8)
    measure_grid(grid, tmp_path / "out", dataset, options)
    before = conditions(None)
    for i in range(len(before)):
        changed = [*before[:i], "another", *before[i + 1 :]]
        monkeypatch.setattr(module, "conditions", lambda device, changed=changed: changed)
        measure_grid(grid, tmp_path / "out", dataset, options)
        assert cells_done(tmp_path / "out") == 2 + i
    monkeypatch.undo()


def test_obedience_is_one_judges_and_left_out_without_one(
    arms: list[str], dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celebgen_cli.evaluation import attributes

    asked: list[Any] = []

    class Result:
        def to_dict(self) -> dict[str, Any]:
            names = ("obedience_interval", "hit", "ceiling", "floor", "faces", "judge")
            return {"obedience": 0.5 + 0.1 * len(asked), "warnings": ["few"], **dict.fromkeys(names)}

    def judged(model: str, real: str, options: Options, *, judge: Path, listener: Any) -> Result:
        asked.append((model, judge, options.seed, options.sampling["steps"]))
        return Result()

    monkeypatch.setattr("celebgen_cli.evaluation.judging.has_judge", lambda word: False)  # the model in the box has one
    made = measure_grid(Grid(arms, [1]), tmp_path / "none", dataset, Options(num=8))
    assert "no model here has a judge" in made.left_out[0] and "obedience" not in made.cells[0][1]
    with pytest.raises(UsageError, match="obedience cannot be measured: no model here has a judge"):
        measure_grid(Grid(arms, [1], metrics=["obedience"]), tmp_path / "none", dataset, Options(num=8))
    monkeypatch.setattr(attributes, "evaluate_attributes", judged)
    monkeypatch.setattr(module, "find_judge", lambda *args: ((tmp_path, "digest"), ""))
    grid = Grid(arms, [1, 2], metrics=["obedience", "fid"])
    for _ in range(2):  # the second time everything is known
        made = measure_grid(grid, tmp_path / "out", dataset, Options(num=8))
    assert asked == [(arm, tmp_path, 0, steps) for arm in arms for steps in (1, 2)]
    assert [figures["obedience"] for _, figures in made.cells] == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert made.warnings.count("few") == 1 and made.cells[0][1]["fid"] > 0 and made.floor is not None


def made_up() -> Ablation:
    def cell(label: str, steps: int, number: int) -> Cell:
        settings = {"sampler": "ddim", "guidance": 2.0, "steps": steps}
        return Cell(None, label, "prior", label * 64, settings, 2 * steps, number, 10 * number)

    cells = [
        (cell(label, steps, number), {"fid": fid + number, "kid": None, "obedience": 0.5, "seconds": 1.5})
        for label, steps, fid in (("a", 5, 40.0), ("a", 10, 30.0), ("b|", 5, 60.0))
        for number in (0, 1, 2)
    ]
    real, floor = {"source": "valid", "n": 60, "size": 32}, {"fid": 6.5, "n": 30, "n_real": 30}
    return Ablation(cells, real, floor, 10, ["mind"], ["no"])


def test_rows_are_means_over_sets() -> None:
    rows = rows_of(made_up())
    assert [(row["model"], row["steps"], row["calls"], row["sets"], row["fid"]) for row in rows] == [
        ("a", 5, 10, 3, 41.0), ("a", 10, 20, 3, 31.0), ("b|", 5, 10, 3, 61.0),
    ]  # fmt: skip
    assert rows[0]["fid_spread"] == pytest.approx(1.0) and rows[0]["kid"] is None and rows[0]["kid_spread"] is None
    assert rows[0]["obedience_spread"] == 0 and rows[0]["seconds"] == 4.5
    lines = text_table(rows, aligned).splitlines()
    assert lines[0].split() == ["model", "start", "sampler", "guidance", "steps", "calls", "sets", "FID", "Obedience"]
    assert "41.00 ± 1.00" in lines[1] and len({line.index("ddim") for line in lines[1:]}) == 1


def test_what_is_written(tmp_path: Path) -> None:
    paths = write(made_up(), tmp_path / "out")
    assert [path.name for path in paths] == [
        "table.md", "table.csv", "cells.csv", "fid.svg", "obedience.svg", "ablation.html",
    ]  # fmt: skip
    table, cells = (list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) for path in paths[1:3])
    assert [row["fid"] for row in table] == ["41.0", "31.0", "61.0"] and table[0]["kid"] == ""
    assert [row["fid"] for row in cells[:3]] == ["40.0", "41.0", "42.0"] and cells[2]["seed"] == "20"
    text = paths[0].read_text(encoding="utf-8")
    assert "| b\\| | prior | ddim | 2 | 5 | 10 | 3 | 61.00 ± 1.00 |" in text
    assert "Two sets of real images (30 and 30) have FID 6.50." in text and "Warning: mind." in text and "- no." in text
    root = ElementTree.fromstring(paths[3].read_text(encoding="utf-8"))
    words = [item.text for item in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a", "b|", "network calls a face", "FID (lower is better)", "10", "20"} <= set(words)
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    page = paths[5].read_text(encoding="utf-8")
    assert "In all of them: start prior, sampler ddim, guidance 2, sets 3." in page
    assert "<tr><th>model</th><th class=num>steps</th><th class=num>calls</th><th class=num>FID</th>" in page
    assert page.count("<svg") == 2 and "<script" not in page and not re.search(r'(?:src|href)="(?!#|data:)', page)


def test_where_only_guidance_varies_it_is_the_axis() -> None:
    from celebgen_cli.evaluation.ablation_table import plot_of

    rows = [
        {"model": "a", "sampler": "ddim", "guidance": g, "steps": 5, "calls": 10, "fid": 40 + g, "fid_spread": None}
        for g in (1.5, 3.0)
    ]
    plot = plot_of(rows, "fid")
    assert plot is not None and ">guidance</text>" in plot and ">1.5</text>" in plot and plot.count("<polyline") == 1


def test_the_command(arms: list[str], dataset: str, tmp_path: Path) -> None:
    words = ("evaluate", "ablation", *arms, "-o", tmp_path / "out", "--real", dataset, "--steps", "1,2", "--num", 8)
    out = invoke(*words, "--samplers", "ddim,dpmpp_2m", "--metrics", "fid")
    assert out.exit_code == 0, out.stderr
    lines = out.stdout.splitlines()
    assert len(lines) == 9 and lines[1].split()[:6] == ["prior", "prior", "ddim", "2", "1", "2"]
    assert "8 of 8" in out.stderr and "written: " in out.stderr and "warning: " in out.stderr
    again = invoke(*words, "--samplers", "ddim,dpmpp_2m", "--metrics", "fid", "--json", "--quiet")
    rows = [json.loads(line) for line in again.stdout.splitlines()]
    assert again.stderr == "" and len(rows) == 8 and rows[0]["fid"] > 0 and rows[0]["num"] == 8
    assert f"{rows[0]['fid']:.2f}" in lines[1]


def test_spacings_draw_other_faces(arms: list[str], dataset: str, tmp_path: Path) -> None:
    words = ("evaluate", "ablation", arms[0], "-o", tmp_path / "out", "--real", dataset, "--steps", 3, "--num", 8)
    out = invoke(*words, "--spacings", "trailing,early", "--metrics", "fid", "--json", "--quiet")
    assert out.exit_code == 0, out.stderr
    even, early = (json.loads(line) for line in out.stdout.splitlines())
    assert (even["sampler"], early["sampler"]) == ("ddim", "ddim, early") and even["fid"] != early["fid"]
    said = one_sentence(invoke(*words, "--spacings", "late"), 2)
    assert "there is no spacing 'late'; choose one of trailing, early, quadratic, logsnr" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--steps", "5,x"), "--steps takes whole numbers with commas between them, not '5,x'"),
        (("--samplers", "ddim,"), "--samplers takes names"),
        (("--guidance", "1,,2"), "--guidance takes numbers"),
        (("--samplers", "euler"), "there is no sampler 'euler'"),
        (("--steps", "0"), "--steps must be from 1 to 1000, not 0"),
        (("--metrics", "beauty"), "no metric 'beauty'"),
        (("--seeds", "a"), "--seeds takes numbers and ranges"),
        (("--guidance", "nan"), "--guidance must be from 0 to 100"),
    ],
)
def test_wrong_usage_is_one_sentence(
    more: tuple[str, ...], says: str, arms: list[str], dataset: str, tmp_path: Path
) -> None:
    out = invoke("evaluate", "ablation", arms[0], "-o", tmp_path / "out", "--real", dataset, "--num", 8, *more)
    assert says in one_sentence(out, 2) and not (tmp_path / "out").exists()


def test_a_missing_model_and_a_folder_that_is_a_file(arms: list[str], dataset: str, tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match="nowhere"):
        measure_grid(Grid([arms[0], str(tmp_path / "nowhere")], [1]), tmp_path / "out", dataset, Options(num=8))
    (tmp_path / "file").touch()
    with pytest.raises(CelebgenError, match="file"):
        measure_grid(Grid(arms[:1], [1]), tmp_path / "file", dataset, Options(num=8))
