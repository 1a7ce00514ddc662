"""`celebgen explore`: JSON, the table, a page that needs nothing else, and datasets that know little."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.cli import common
from celebgen_cli.data.attributes import ATTRIBUTES
from tests.command import COMMAND, ENVIRONMENT, invoke, one_sentence
from tests.exploration.conftest import draw, write_split

VOID = {"meta", "img", "br", "line", "rect", "ellipse", "image", "polygon", "polyline"}
SECTIONS = [
    "sizes", "pixels", "faces", "attributes", "correlations", "surprises", "landmarks", "captions", "people",
    "duplicates",
]  # fmt: skip


class Page(HTMLParser):
    """Every tag closed in its turn, and what the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if tag == "section":
            self.sections.append(str(found["id"]))
        self.sources += [str(found[key]) for key in ("src", "href") if key in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(path: Path) -> Page:
    """The page, once it is sure that it needs no other resource."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.sections == SECTIONS
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert not re.search(r"https?:|@import|url\(|<script|\bnan\b", text, re.IGNORECASE)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "must not be published" in page.text
    return page


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits that know everything, with one duplicate across them."""
    images, attributes = draw(60, 32, seed=2)
    images[50] = images[10]
    rng = np.random.default_rng(0)
    points = rng.normal(16, 3, (60, 5, 2))
    points[3] = np.nan
    folder = tmp_path_factory.mktemp("rich") / "[bold]&data"
    for split, rows in (("train", slice(0, 45)), ("valid", slice(45, 60))):
        write_split(
            folder, split, images[rows], attributes=attributes[rows], identity=np.arange(60)[rows] // 2,
            landmarks=points[rows], captions=[[f"face {i}", "<b>a & b</b>"] for i in range(60)[rows]],
            names=[f"<{i}>.png" for i in range(60)[rows]], first=rows.start,
        )  # fmt: skip
    return folder


def test_page_and_table(rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = invoke("explore", rich)
    assert (out.exit_code, out.stdout) == (0, "report.html\n"), out.output
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    for words in ("60 images of 32x32, crop face178", "Smiling", "Pairs met more often", "train and valid"):
        assert words in out.stderr
    assert "120 captions (stored), 2.5 words each" in out.stderr
    assert "People in more than one split: 1." in out.stderr
    page = read_page(tmp_path / "report.html")
    assert "[bold]&data" in page.text and "<b>a & b</b>" in page.text and "<10>.png" in page.text
    assert "b" not in page.tags
    assert "59 images over the mean face of all" in page.text
    assert page.text.count("face178") == 1 and "labelled as two people" in page.text


def test_json(rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = invoke("explore", rich, "--json", "--quiet")
    assert (out.exit_code, out.stderr) == (0, "") and list(tmp_path.iterdir()) == []
    found = json.loads(out.stdout)
    assert out.stdout.count("\n") == 1
    assert set(found) == {
        "celebgen", "datasets", "images", "size", "crop", "splits", "pixels", "attributes", "correlations",
        "surprises", "people", "landmarks", "captions", "duplicates", "page",
    }  # fmt: skip
    assert (found["images"], found["size"], found["crop"], found["page"]) == (60, 32, "face178", None)
    assert {name: split["images"] for name, split in found["splits"].items()} == {"train": 45, "valid": 15}
    images = np.concatenate([np.load(rich / split / "images.npy") for split in ("train", "valid")])
    assert found["pixels"]["red"]["mean"] == pytest.approx(images[..., 0].mean())
    assert found["pixels"]["blue"]["std"] == pytest.approx(images[..., 2].std())
    attributes = np.concatenate([np.load(rich / split / "attributes.npy") for split in ("train", "valid")])
    assert list(found["attributes"]) == list(ATTRIBUTES) == found["correlations"]["names"]
    male = ATTRIBUTES.index("Male")
    assert found["attributes"]["Male"]["share"] == pytest.approx((attributes[:, male] == 1).mean())
    assert np.shape(found["correlations"]["phi"]) == (40, 40)
    assert found["people"]["people"] == 30 and found["people"]["in_several_splits"] == 1
    assert found["people"]["shared"] == [{"splits": ["train", "valid"], "people": 1}]
    assert found["landmarks"]["images"] == 59
    assert found["captions"]["source"] == "stored" and found["captions"]["captions"] == 120
    assert found["captions"]["examples"][0] == {"split": "train", "name": "<0>.png", "caption": "face 0"}
    assert found["duplicates"]["pairs"] == [{"splits": ["train", "valid"], "identical": 1, "near": 0, "mirrored": 0}]
    group = found["duplicates"]["identical"][0]
    assert [image["name"] for image in group["images"]] == ["<10>.png", "<50>.png"]
    assert group["same_person"] is False and group["attributes_differ"] == (attributes[10] != attributes[50]).sum()


def test_json_and_a_page(rich: Path, tmp_path: Path) -> None:
    out = invoke("explore", rich, "--json", "-q", "-o", tmp_path / "a" / "page.html")
    assert json.loads(out.stdout)["page"] == str(tmp_path / "a" / "page.html")
    read_page(tmp_path / "a" / "page.html")


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_that_nothing_is_known_of(tmp_path: Path, count: int) -> None:
    data = write_split(tmp_path / "own", "train", draw(count, 40)[0])
    out = invoke("explore", data, "--json", "-o", tmp_path / "page.html")
    assert out.exit_code == 0, out.output
    found = json.loads(out.stdout)
    empty = ("attributes", "correlations", "surprises", "people", "landmarks", "captions")
    assert all(found[key] is None for key in empty)
    assert found["duplicates"] | {"rule": None} == {
        "complete": True, "rule": None, "pairs": [], "identical": [], "near": []
    }  # fmt: skip
    text = read_page(tmp_path / "page.html").text
    for words in (
        "No attribute of any image is known", "No landmarks are stored", "It is not known who",
        "there are no attributes to make them from", "1 image of" if count == 1 else "3 images of",
    ):  # fmt: skip
        assert words in text


def test_one_black_picture_with_labels(tmp_path: Path) -> None:
    data = write_split(
        tmp_path / "own", "valid", np.zeros((1, 32, 32, 3), np.uint8), attributes=draw(1)[1], identity=np.array([4]),
        landmarks=np.full((1, 5, 2), 8.0),
    )  # fmt: skip
    out = invoke("explore", data, "--json", "-o", tmp_path / "page.html")
    found = json.loads(out.stdout)
    assert found["pixels"]["red"] == {"mean": 0.0, "std": 0.0, "skewness": None, "kurtosis": None}
    assert found["captions"]["source"] == "made from attributes" and found["captions"]["captions"] == 1
    assert found["correlations"]["phi"][0][0] is None
    read_page(tmp_path / "page.html")


def test_partly_unknown_attributes(tmp_path: Path) -> None:
    images, attributes = draw(12, 32)
    attributes[:4] = 0
    attributes[:, 3] = 0
    data = write_split(tmp_path / "own", "train", images, attributes=attributes)
    found = json.loads(invoke("explore", data, "--json", "-q", "-o", tmp_path / "page.html").stdout)
    assert found["attributes"]["Male"]["known"] == 8 and found["attributes"]["Bags_Under_Eyes"]["share"] is None
    assert found["captions"] is None  # no row is known whole
    text = read_page(tmp_path / "page.html").text
    assert "unknown are left out" in text and "no image has all its attributes known, so none can be made" in text


def test_several_datasets(rich: Path, tmp_path: Path) -> None:
    images = np.load(rich / "train" / "images.npy")
    other = write_split(tmp_path / "other", "test", images[7:8, :, ::-1], first=500)
    found = json.loads(invoke("explore", rich, other, "--json", "-q").stdout)
    assert list(found["splits"]) == ["[bold]&data:train", "[bold]&data:valid", "other:test"]
    (near,) = found["duplicates"]["near"]
    assert near["mirrored"] and near["distance"] == 0 and near["second"] == {"split": "other:test", "name": "000500"}
    assert near["same_person"] is None and near["attributes_differ"] is None


def test_labels_of_several_datasets_keep_their_ends(
    rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal; and a bracket is no markup."""
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "80")
    folder = tmp_path / "celeba-[bold]-aligned-at-128-pixels"
    for split, rows in (("train", slice(0, 30)), ("valid", slice(30, 45))):
        write_split(
            folder, split, np.load(rich / "train" / "images.npy")[rows],
            attributes=np.load(rich / "train" / "attributes.npy")[rows],
        )  # fmt: skip
    common.stderr.cache_clear()
    out = invoke("explore", rich, folder, "-o", tmp_path / "page.html")
    common.stderr.cache_clear()
    assert out.exit_code == 0, out.output
    assert "…" not in out.stderr
    first = [line.split("│")[1].strip() for line in out.stderr.split("Attributes")[0].splitlines() if "│" in line]
    assert [line for line in first if line in ("train", "valid", "all")] == ["train", "valid", "train", "valid", "all"]
    heads = out.stderr.split("Attributes")[1].partition("┡")[0]
    assert "".join(first).count("[bold]") == 4 and "[bold]" in heads


def test_a_dataset_that_is_none_is_said_first(rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report.html").write_text("mine")
    for name in ("model", "run", "config"):
        Path(name).mkdir()
    Path("model", "model.json").write_text("{}")
    Path("run", "config.json").write_text("{}")
    for name in ("no", "model", "run"):
        assert "report.html" not in one_sentence(invoke("explore", name), 1)
    assert "report.html is there already" in one_sentence(invoke("explore", rich), 2)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/set\xff"))
    write_split(folder, "train", draw(3, 32)[0])
    environment = os.environ | ENVIRONMENT
    for arguments in (("-o", tmp_path / "page.html"), ("--json",), ("-o", folder / "page.html")):
        command = [COMMAND, "explore", folder, *arguments]
        out = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert out.returncode == 0, out.stderr
        if "--json" in arguments:
            assert json.loads(out.stdout)["datasets"][0]["path"] == str(folder)
        else:
            assert out.stdout == os.fsencode(arguments[1]) + b"\n"
    assert "set?" in read_page(tmp_path / "page.html").text


def test_one_is_singular(tmp_path: Path) -> None:
    images, attributes = draw(400, 32)
    attributes[:, 2:] = -1
    attributes[:200, :2], attributes[200:, :2] = 1, -1
    data = write_split(tmp_path / "own", "train", images, attributes=attributes, identity=np.full(400, 3))
    found = json.loads(invoke("explore", data, "--json", "-q", "-o", tmp_path / "page.html").stdout)
    assert found["surprises"]["rule"]["pairs"] == 1 and len(found["surprises"]["above"]) == 1
    assert found["surprises"]["rule"]["z"] == pytest.approx(2.5758, abs=1e-4)
    text = read_page(tmp_path / "page.html").text
    assert "More often than by chance 1 pair" in text and "with 1 pair of independent attributes" in text
    assert "|z| above 2.58" in text and "1 person in 400 images" in text


def test_attributes_that_never_change(tmp_path: Path) -> None:
    images, _ = draw(4, 32)
    data = write_split(tmp_path / "own", "train", images, attributes=np.ones((4, 40), np.int8))
    found = json.loads(invoke("explore", data, "--json", "-q", "-o", tmp_path / "page.html").stdout)
    assert found["surprises"]["rule"]["pairs"] == 0 and found["surprises"]["rule"]["z"] is None
    assert "No two attributes both change" in read_page(tmp_path / "page.html").text


def test_nothing_is_overwritten(rich: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert "is there already" in one_sentence(invoke("explore", rich, "-o", page), 2)
    assert page.read_text() == "mine"
    assert "is a folder" in one_sentence(invoke("explore", rich, "-o", tmp_path), 2)
    assert invoke("explore", rich, "-o", page, "--force", "-q").exit_code == 0
    read_page(page)


def test_errors_leave_nothing_behind(rich: Path, tmp_path: Path) -> None:
    assert "does not exist" in one_sentence(invoke("explore", tmp_path / "no", "-o", tmp_path / "page.html"), 1)
    assert "given twice" in one_sentence(invoke("explore", rich, rich, "-o", tmp_path / "page.html"), 2)
    (tmp_path / "file").write_text("")
    assert "cannot write" in one_sentence(invoke("explore", rich, "-o", tmp_path / "file" / "page.html"), 1)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_failure_halfway_leaves_no_page(rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from celebgen_cli.errors import CelebgenError
    from celebgen_cli.exploration import page

    def fail(found: object) -> str:
        raise CelebgenError("stop")

    monkeypatch.setattr(page, "render", fail)
    assert one_sentence(invoke("explore", rich, "-q", "-o", tmp_path / "page.html"), 1) == "error: stop"
    assert list(tmp_path.iterdir()) == []
