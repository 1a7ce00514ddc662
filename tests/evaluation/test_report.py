"""All metrics on one page: what is measured, left out, gone on with, compared and failed by."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celebgen_cli.cli import common, evaluate_report
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare, report_parts
from celebgen_cli.evaluation.options import Options
from celebgen_cli.evaluation.report import conditions_that_differ, failure, read_report, to_json
from celebgen_cli.evaluation.report_page import render
from celebgen_cli.evaluation.report_parts import Measured, Setup, measure_report
from celebgen_cli.processes import PeerLost
from tests.command import invoke, one_sentence
from tests.evaluation.conftest import StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def dataset(tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A valid and a train split; CELEBGEN_DATASET names it."""
    folder = write_dataset(tmp_path / "data", faces[0][:40], faces[1][:40])
    train = write_dataset(tmp_path / "train", faces[0][40:], faces[1][40:], "train")
    shutil.move(train / "train", folder / "train")
    both = [json.loads((place / "dataset.json").read_text(encoding="utf-8")) for place in (folder, train)]
    both[0]["counts"]["train"] = 20
    both[0]["sha256"] |= both[1]["sha256"]
    (folder / "dataset.json").write_text(json.dumps(both[0]), encoding="utf-8")
    monkeypatch.setenv("CELEBGEN_DATASET", str(folder))
    return folder


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch, extractor: StubExtractor) -> StubExtractor:
    monkeypatch.setattr(compare, "load_inception", lambda *args, **kwargs: extractor)
    return extractor


@pytest.fixture
def model(model_folder: Path) -> str:
    return str(model_folder)


PARTS = "fid,prc,text,reconstruction,attributes"


def test_the_command_measures_what_it_can(model: str, dataset: Path, tmp_path: Path) -> None:
    page, beside = tmp_path / "out" / "faces.html", tmp_path / "out" / "faces.json"
    words = ("evaluate", "report", model, "-o", page, "--num", 24, "--steps", 2, "--metrics", PARTS)
    out = invoke(*words)
    assert out.exit_code == 0, out.stderr
    assert out.stdout == f"{page}\n{beside}\n" and "fid" in out.stderr
    assert sorted(path.name for path in page.parent.iterdir()) == ["faces.html", "faces.json"]
    value = json.loads(beside.read_text(encoding="utf-8"))
    assert set(value["parts"]) == {"fid", "prc", "attributes", "reconstruction"}
    assert "no CLIP is at hand" in value["left_out"]["text"]
    alone = compare.compare(model, None, Options(num=24, sampling={"steps": 2}))
    assert value["figures"]["fid"] == pytest.approx(alone.fid, rel=1e-9)
    assert value["figures"]["psnr"] == value["parts"]["reconstruction"]["psnr"]
    assert value["generated"]["settings"]["steps"] == 2 and value["format"] == "celebgen-report"
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64") == 24 + 16  # generated faces, worst prompts; no photograph
    assert "<script" not in text and not re.search(r'(?:src|href)="(?!#|data:)', text) and "url(" not in text
    assert 'name="viewport"' in text and f"{value['figures']['fid']:.2f}" in text
    assert "no CLIP is at hand" in html.unescape(text)
    # the same again: refused without --force, and equal with it
    assert "is there already" in one_sentence(invoke(*words), 2)
    assert invoke(*words[:-1], "fid", "--force", "--quiet").stderr == ""
    again = json.loads(beside.read_text(encoding="utf-8"))
    assert again["figures"] == {name: value["figures"][name] for name in ("fid", "kid")}


def test_comparison_and_conditions(model: str, dataset: Path, tmp_path: Path) -> None:
    words = ("evaluate", "report", model, "--metrics", "fid,reconstruction", "--num", 12)
    assert invoke(*words, "--steps", 1, "-o", tmp_path / "a.html").exit_code == 0
    before = tmp_path / "a.json"
    out = invoke(*words, "--steps", 2, "-o", tmp_path / "b.html", "--against", before, "--fail-if", "fid<0", "--json")
    assert out.exit_code == 0, out.stderr
    value = json.loads(out.stdout)
    found = value["against"]["differences"]
    assert found["psnr"]["verdict"] == "same" and found["fid"]["verdict"] in ("better", "worse")
    assert (found["fid"]["change"] < 0) == (found["fid"]["verdict"] == "better")
    assert value["against"]["conditions_differ"] == [] and value["fail_if"] == {"fid<0": False}
    assert f"{found['fid']['verdict']}: " in out.stderr
    assert "Compared" in (tmp_path / "b.html").read_text(encoding="utf-8")
    failing = ("--fail-if", "fid>=0", "--fail-if", "psnr<0", "--fail-if", "psnr>1", "--fail-if", "lpips>1")
    out = invoke(*words, "--num", 16, "-o", tmp_path / "c.html", "--against", before, "--quiet", *failing)
    assert out.exit_code == 1
    lines = out.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: fid>=0 holds, fid is ") and "psnr>1 holds" in lines[0]
    assert "psnr<0" not in lines[0] and "lpips>1 cannot be decided, for lpips was not measured" in lines[0]
    value = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert value["fail_if"] == {"fid>=0": True, "psnr<0": False, "psnr>1": True, "lpips>1": None}
    assert "fid: generated n differs (16 and 12)" in value["against"]["conditions_differ"]
    assert (tmp_path / "c.html").is_file()


def test_distances_in_other_units_are_not_compared_unsaid() -> None:
    parts, other = (
        {"memorization": {"n": 4, "spaces": {space: {} for space in spaces}, "diversity": {"distance": distance}}}
        for spaces, distance in ((("latent", "pixels"), "LPIPS"), (("pixels", "inception"), "RMS"))
    )
    assert conditions_that_differ(parts, parts) == []
    assert conditions_that_differ(parts, other) == [
        "memorization: spaces differs (['latent', 'pixels'] and ['inception', 'pixels'])",
        "memorization: diversity distance differs (LPIPS and RMS)",
    ]


def test_a_condition_counts_where_nobody_reads(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(evaluate_report.typer, "echo", gone)
    for module in (common, evaluate_report):
        monkeypatch.setattr(module, "silence_stdout", lambda: None)
    words = ("evaluate", "report", model, "--metrics", "reconstruction", "--num", 4, "--quiet", "--force")
    for condition, code in (("psnr>1", 1), ("psnr<0", 0)):
        assert invoke(*words, "-o", tmp_path / "a.html", "--fail-if", condition).exit_code == code



@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (("--fail-if", "fid=25"), 2, "--fail-if takes a figure"),
        (("--fail-if", "beauty>1"), 2, "no figure 'beauty' here; the figures are fid, kid"),
        (("--metrics", "fid,beauty"), 2, "--metrics takes some of"),
        (("-o", "page.pdf"), 2, "must end in .html"),
        (("--against", "nowhere.json"), 1, "nowhere.json does not exist"),
        (("--steps", "5000"), 2, "--steps must be from 1 to 1000"),
    ],
)
def test_wrong_usage(
    more: tuple[str, ...], code: int, says: str, model: str, dataset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert says in one_sentence(invoke("evaluate", "report", model, "--num", 12, *more), code)
    assert set(tmp_path.iterdir()) <= before | {tmp_path / ".report.html.partial"}


def test_what_is_no_report(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    texts = {
        "[]": "is no report",
        '{"format": "celebgen-report", "figures": []}': "is no report",
        "{": "cannot be read as JSON",
        '{"format": "celebgen-report", "figures": {}, "parts": {}, "format_version": 9}': "version 9",
    }
    for text, says in texts.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CelebgenError, match=says):
            read_report(path)


def test_an_interrupted_report_goes_on(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def part(name: str) -> Any:
        def measure(*args: Any) -> dict[str, Any]:
            if name == "prc" and len(measured) == 1:
                raise KeyboardInterrupt
            measured.append(name)
            return {"fid": 1.0, "n": len(measured)}

        return measure

    for name in ("fid", "prc"):
        monkeypatch.setitem(report_parts.PARTS, name, part(name))
    setup = Setup(model, None, None, Options(num=8, sampling={"steps": 1}), ["fid", "prc"])
    with pytest.raises(KeyboardInterrupt):
        measure_report(setup, tmp_path / "work")
    measured.append("interrupted")
    found = measure_report(setup, tmp_path / "work")
    assert measured == ["fid", "interrupted", "prc"] and found.parts["fid"] == {"fid": 1.0, "n": 1}
    measure_report(Setup(model, None, None, Options(num=9, sampling={"steps": 1}), ["fid"]), tmp_path / "work")
    assert measured[-1] == "fid"  # another N is measured anew


def test_faces_are_drawn_once_for_all_parts(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memorization and FID look at the same faces."""
    from celebgen_cli.pipeline import Model

    drawn: list[int] = []
    sample = Model.sample

    def counting(self: Model, prompts: Any, seeds: Any, **settings: Any) -> np.ndarray:
        drawn.extend(seeds)
        return sample(self, prompts, seeds, **settings)

    monkeypatch.setattr(Model, "sample", counting)
    monkeypatch.setattr("celebgen_cli.evaluation.memorization.measure_diversity", lambda *args, **kwargs: None)
    setup = Setup(model, None, None, Options(num=12, sampling={"steps": 1}), ["memorization", "fid"])
    found = measure_report(setup, tmp_path / "work")
    assert found.left_out == {} and sorted(drawn) == list(range(12))
    assert found.parts["memorization"]["n_train"] == 20 and not (tmp_path / "work" / "pairs.png").exists()
    drawn.clear()
    shutil.rmtree(tmp_path / "work")
    measure_report(setup, tmp_path / "work")  # features are known: only the page's faces are drawn again
    assert sorted(drawn) == list(range(12))


def test_the_end_of_the_job_is_no_fault_of_a_part(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: Any) -> dict[str, Any]:
        raise PeerLost("lost the others")

    monkeypatch.setitem(report_parts.PARTS, "prc", lost)
    with pytest.raises(PeerLost):
        measure_report(Setup(model, None, None, Options(num=8), ["prc"]), tmp_path / "work")


def test_other_weights_under_the_same_name_are_measured_anew(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setitem(report_parts.PARTS, "text", lambda *args: measured.append(0) or {"score": len(measured)})
    clip = tmp_path / "clip.pt"
    for content, times in ((b"one", 1), (b"one", 1), (b"other", 2)):
        if not clip.exists() or clip.read_bytes() != content:
            clip.write_bytes(content)
        measure_report(Setup(model, None, None, Options(num=8), ["text"], clip=str(clip)), tmp_path / "work")
        assert len(measured) == times


def test_another_training_set_under_the_same_name_is_measured_anew(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setitem(report_parts.PARTS, "text", lambda *args: measured.append(0) or {"score": len(measured)})
    kept = Path(shutil.copytree(dataset, tmp_path / "kept"))
    for times in (1, 1, 2):
        if times == 2:
            (kept / "dataset.json").write_text((kept / "dataset.json").read_text(encoding="utf-8") + " ")
        setup = Setup(model, str(dataset), f"{kept}:train", Options(num=8), ["text"])
        measure_report(setup, tmp_path / "work")
        assert len(measured) == times


def test_what_the_environment_names_and_repeats_are_part_of_what_was_measured(
    model: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    monkeypatch.setitem(report_parts.PARTS, "text", lambda *args: measured.append(0) or {"score": len(measured)})
    (tmp_path / "clip").mkdir()
    (tmp_path / "lpips").mkdir()

    def times(**options: Any) -> int:
        setup = Setup(model, str(dataset), None, Options(num=8, **options), ["text"])
        measure_report(setup, tmp_path / "work")
        return len(measured)

    assert (times(), times(), times(repeats=2)) == (1, 1, 2)
    for done, (name, value) in enumerate((("CLIP", "clip"), ("PERCEPTUAL_WEIGHTS", "lpips"), ("DATASET", "data2"))):
        if name == "DATASET":
            shutil.copytree(dataset, tmp_path / value)
        monkeypatch.setenv(f"CELEBGEN_{name}", str(tmp_path / value))
        assert (times(), times()) == (3 + done, 3 + done)


def test_memorization_of_the_training_set_itself_is_left_out(
    model: str, dataset: Path, tmp_path: Path, faces: Faces
) -> None:
    folder = str(write_images(tmp_path / "copies", faces[0][:10]))
    setup = Setup(folder, folder, folder, Options(), ["memorization", "fid"])
    found = measure_report(setup, tmp_path / "work")
    assert "are the training set itself" in found.left_out["memorization"]


def test_a_folder_and_nothing_at_all(faces: Faces, dataset: Path, tmp_path: Path) -> None:
    folder = str(write_images(tmp_path / "images", faces[0][:10]))
    found = measure_report(Setup(folder, None, None, Options(), ["fid", "reconstruction"]), tmp_path / "work")
    assert "is no model, so it has no CVAE" in found.left_out["reconstruction"] and len(found.faces) == 10
    assert found.generated["kind"] == "folder" and found.generated["sha256"]
    with pytest.raises(CelebgenError, match="nothing could be measured: .*is no model"):
        measure_report(Setup(folder, None, None, Options(), ["reconstruction"]), tmp_path / "work")
    with pytest.raises(UsageError, match="does not exist"):
        measure_report(Setup(str(tmp_path / "none"), None, None, Options(), ["fid"]), tmp_path / "work")


def everything(tmp_path: Path) -> Measured:
    """Every part as its command has it, made up."""
    from celebgen_cli.images import encode_png

    tile = np.zeros((16, 16, 3), dtype=np.uint8)
    (tmp_path / "reconstruction").mkdir()
    for name in ("worst.png", "pairs.png", "reconstruction/0.png"):
        (tmp_path / name).write_bytes(encode_png(tile))
    side = {"source": "a <b>", "n": 1000, "size": 128, "crop": "face178"}
    tally = {"n": 10, "named": 10, "hit": 0.5, "ceiling": 0.9, "floor": 0.1, "obedience": 0.5, "of_ceiling": 0.55}
    space = dict.fromkeys(("generated_median", "held_out_median", "ratio_median", "ratio_1_percent", "nearer"), 0.5)
    parts: dict[str, dict[str, Any]] = {
        "fid": {"fid": 30.0, "kid": 0.02, "generated": side, "real": side, "warnings": ["mind <it>"],
                "floor": {"fid": 6.0, "n": 500, "n_real": 500, "sets": "halves"},
                "spread": {"fid": {"mean": 30.0, "deviation": 0.25}}},
        "prc": {"precision": 0.5, "recall": 0.4, "density": 0.3, "coverage": 0.2, "generated": side, "real": side},
        "attributes": {**tally, "obedience_interval": [0.4, 0.6], "faces": 100, "real": "valid",
                       "judge": {"source": "judge", "sha256": "x", "accuracy": 0.9},
                       "attributes": {"Smiling": {"present": tally, "absent": None}},
                       "worst": [{"prompt": "p & q", "missed": ["Bald"], "path": str(tmp_path / "worst.png")}]},
        "text": {"score": 20.0, "score_interval": 0.5, "score_real": None, "score_shuffled": 10.0, "r_precision": 0.5,
                 "r_precision_real": 0.6, "chance": 0.01, "n": 100, "candidates": 100, "clip": "c",
                 "conditions_model": True},
        "reconstruction": {"psnr": 28.0, "psnr_interval": 0.1, "ssim": 0.9, "lpips": None, "n": 10, "source": "valid",
                           "prior": {"nll": 1.2, "fid": None}},
        "memorization": {"spaces": {"pixels": {**space, "below_1_percent": 0.01}}, "n": 10, "n_train": 20,
                         "diversity": {"generated": 0.4, "real": 0.5, "ratio": 0.8, "distance": "LPIPS"}},
    }  # fmt: skip
    generated = {"kind": "model", "source": "m<1>", "sha256": "f", "size": 128, "seed": 0, "settings": {"steps": 8}}
    return Measured(parts, {"never": "why & how"}, generated, tile[None], ["a <face>"], tmp_path)


def test_the_page_has_everything_and_escapes_it(tmp_path: Path) -> None:
    measured = everything(tmp_path)
    value = to_json(measured)
    json.dumps(value, allow_nan=False)
    assert value["parts"]["attributes"]["worst"][0]["path"] is None and str(tmp_path) not in json.dumps(value)
    page = render(measured, value)
    for title in ("Figures", "Faces", "Distance to real faces", "Attributes", "Text", "Memorization and diversity"):
        assert f"<h2>{title}</h2>" in page
    for words in ("a &lt;face&gt;", "p &amp; q", "mind &lt;it&gt;", "why &amp; how", "m&lt;1&gt;: report",
                  "a &lt;b&gt;", "30.00 ± 0.25", "6.00", "28.00 ± 0.10", "so it flatters", "missed: Bald"):  # fmt: skip
        assert words in page, words
    assert ">other real faces, N 500</text>" in page and ">generated, N 1,000</text>" in page
    assert "must not be published" in page.replace("\n", " ") and page.count("data:image/jpeg") == 4
    assert "<b>" not in page.split("</style>")[1]
    for name in ("pairs.png", "reconstruction/0.png"):
        (tmp_path / name).unlink()
    (tmp_path / "reconstruction").rmdir()
    assert "must not be published" not in render(measured, value)


def test_failures_are_one_sentence() -> None:
    from celebgen_cli.evaluation.figures import Condition

    value = {"figures": {"fid": 30.0}, "left_out": {"text": "no CLIP"}}
    assert failure([Condition("fid", ">", 25)], value) == "fid>25 holds, fid is 30"
    assert failure([Condition("fid", ">", 35)], value) is None and failure([], value) is None
    said = failure([Condition("clip_score", "<", 20)], value)
    assert said == "clip_score<20 cannot be decided, for clip_score was not measured; left out are text"
    assert str(Condition("fid", ">", 25.0000001)) == "fid>25.0000001"  # not that of fid>25, which it stands beside
    assert [str(Condition("kid", "<", limit)) for limit in (0.005, 1e-7)] == ["kid<0.005", "kid<1e-07"]


def test_ratios_to_nothing_are_a_dash(tmp_path: Path) -> None:
    """Held-out photographs that are all training pictures have no distance to compare with."""
    measured = everything(tmp_path)
    measured.parts["memorization"]["spaces"]["pixels"] |= {"ratio_median": None, "ratio_1_percent": None}
    assert render(measured, to_json(measured)).count(">-</td>") == 2
