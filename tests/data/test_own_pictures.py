"""`prepare` on people's own portraits: names, captions, landmarks, and no annotation file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.data.alignment import MEAN_FACE, MIRRORED
from celebgen_cli.data.dataset import Split, open_dataset
from celebgen_cli.data.planning import Alignment, plan
from celebgen_cli.data.prepare import prepare
from celebgen_cli.errors import CelebgenError, UsageError
from tests.command import invoke, one_sentence
from tests.faces import write_celeba

NAMES = ("anna.jpg", "holiday/bo b.png", "holiday/carl.webp", "dora.jpeg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for i, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (9, 7 + i, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((300 + 40 * i, 400)).save(folder / name)
    lines = [{"file_name": "anna.jpg", "text": ["a smiling woman", "anna"]}, {"file_name": "dora.jpeg", "text": "dora"}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "holiday" / "bo b.txt").write_text("a man in a hat\n", encoding="utf-8")
    return folder


def rows(dataset: Path) -> dict[str, tuple[Split, int]]:
    """Every row by its name."""
    opened = open_dataset(dataset)
    found = {}
    for name in opened.splits:
        split = opened.split(name)
        assert split.names is not None
        found |= {split.names.of(row)[0]: (split, row) for row in range(len(split))}
    return found


def test_names_captions_and_a_central_square(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    report = prepare([photos], tmp_path / "out", annotations=None, size=64, workers=1, announce=said.append)
    assert sum(report.counts.values()) == 4 and report.counts["train"] >= 1
    found = rows(tmp_path / "out")
    assert set(found) == set(NAMES)
    for name, captions in zip(NAMES, [("a smiling woman", "anna"), ("a man in a hat",), (), ("dora",)], strict=True):
        split, row = found[name]
        assert (split.captions.of(row) if split.captions else ()) == captions
        assert (split.attributes[row] == 0).all() and split.crop == "square"
        image = Image.open(photos / name).convert("RGB")
        left, top = (image.width - min(image.size)) // 2, (image.height - min(image.size)) // 2
        side = min(image.size)
        square = image.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(split.images[row], np.asarray(square))
    dataset = open_dataset(tmp_path / "out")
    dataset.verify()
    assert dataset.info["attributes"] is False and dataset.info["captions"] == 4
    assert any("pictures of your own" in sentence for sentence in said) and any("MiB" in sentence for sentence in said)


def test_a_caption_for_those_that_have_none(photos: Path, tmp_path: Path) -> None:
    prepare([photos], tmp_path / "out", annotations=None, size=32, caption="a photo", workers=1)
    found = rows(tmp_path / "out")
    assert {name: split.captions.of(row)[0] for name, (split, row) in found.items() if split.captions} == {
        "anna.jpg": "a smiling woman", "holiday/bo b.png": "a man in a hat", "holiday/carl.webp": "a photo",
        "dora.jpeg": "dora",
    }  # fmt: skip


def test_aligned_portraits_have_their_landmarks_where_celeba_has_them(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    points = {"anna.jpg": MEAN_FACE * 1.5 + 3, "bo b": MEAN_FACE, "dora": MEAN_FACE[::-1] * 0}
    table.write_text("".join(f"{n},{','.join(map(str, p.ravel() - 0.5))}\n" for n, p in points.items()))
    report = prepare([photos], tmp_path / "out", annotations=None, size=64, align=True, landmarks=table, workers=1)
    assert (sum(report.counts.values()), report.rejected) == (2, 2)
    for split, row in rows(tmp_path / "out").values():
        assert split.landmarks is not None
        np.testing.assert_allclose(split.landmarks[row], (MEAN_FACE - (0, 20)) * 64 / 178, atol=1e-3)
    rejected = (tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8")
    assert "photos/holiday/carl.webp,there are no landmarks" in rejected
    assert "photos/dora.jpeg,the landmarks are all in one place" in rejected


def test_celebas_landmarks_and_captions_beside_it(tmp_path: Path) -> None:
    write_celeba(tmp_path / "celeba", 6, 3)
    place = tmp_path / "celeba"
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    lines = [f"{i:06d}.jpg {i} 40 {100 + i} 40 80 90 60 120 100 {120 + i}" for i in (1, 2, 4, 9)]
    (place / "list_landmarks_align_celeba.txt").write_text("\n".join(["4", header, *lines]) + "\n")
    (place / "img_align_celeba" / "000002.txt").write_text("someone\n")
    said: list[str] = []
    prepare([place / "img_align_celeba"], tmp_path / "out", annotations=place, size=89, workers=1, announce=said.append)
    split = open_dataset(tmp_path / "out").split("train")
    assert split.landmarks is not None and split.captions is not None
    row = split.ids.tolist().index(2)
    np.testing.assert_allclose(split.landmarks[row][0], [2.5 / 2, 20.5 / 2], atol=1e-5)
    assert np.isnan(split.landmarks[split.ids.tolist().index(3)]).all()
    assert split.captions.of(row) == ("someone",) and split.captions.of(0) == ()
    assert any("list_landmarks_align_celeba.txt has no row for 3 images" in sentence for sentence in said)


def test_splits_follow_names_not_positions(photos: Path, tmp_path: Path) -> None:
    def codes(folder: Path) -> dict[str, int]:
        chosen = plan([folder], None, "square", 32, Alignment(), None)
        assert chosen.names is not None
        return dict(zip(chosen.names, chosen.codes.tolist(), strict=True))

    before = codes(photos)
    Image.new("RGB", (50, 50)).save(photos / "aaa.png")
    assert {name: code for name, code in codes(photos).items() if name != "aaa.png"} == before


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"align": True}, UsageError, "--align needs landmarks"),
        ({"landmarks": Path("x.csv")}, UsageError, "give both"),
        ({"align": True, "already": "face178"}, UsageError, "cannot be aligned"),
        ({"align": True, "crop": "square"}, UsageError, "a box of its own"),
        ({"caption": " "}, UsageError, "the caption is empty"),
        ({"align": True, "landmarks": Path("gone.csv")}, CelebgenError, "gone.csv does not exist"),
    ],
)
def test_refusals(photos: Path, tmp_path: Path, arguments: dict, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        prepare([photos], tmp_path / "out", annotations=None, size=32, workers=1, **arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_numbered_images_without_annotations_are_not_taken_for_ones_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (178, 218)).save(tmp_path / "in" / "000001.jpg")
    assert "no list_attr_celeba" in one_sentence(invoke("prepare", tmp_path / "in", "-o", tmp_path / "out"), 1)
    done = invoke("prepare", tmp_path / "in", "-o", tmp_path / "out", "--caption", "a face", "--size", 32)
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out'}\n")


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    gray = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "in" / "deep.png")
    prepare([tmp_path / "in"], tmp_path / "out", annotations=None, size=64, workers=1)
    image = open_dataset(tmp_path / "out").split("train").images[0]
    np.testing.assert_array_equal(image, np.repeat((gray // 257).astype(np.uint8)[..., None], 3, 2))


def test_one_picture_in_two_sources_is_taken_once(photos: Path, tmp_path: Path) -> None:
    report = prepare([photos, photos / "holiday"], tmp_path / "out", annotations=None, size=32, workers=1)
    assert (report.found, report.repeats, sum(report.counts.values())) == (6, 2, 4)


def test_landmarks_that_nobody_asked_for_are_mentioned(photos: Path, tmp_path: Path) -> None:
    line = {"file_name": "bo b.png", "landmarks": MEAN_FACE.tolist()}
    (photos / "holiday" / "metadata.jsonl").write_text(json.dumps(line))
    said: list[str] = []
    prepare([photos], tmp_path / "out", annotations=None, size=32, workers=1, announce=said.append)
    assert any("--align" in sentence for sentence in said)
    report = prepare([photos], tmp_path / "aligned", annotations=None, size=32, workers=1, align=True)
    assert (sum(report.counts.values()), report.rejected) == (1, 3)


def test_landmarks_of_equal_names_in_two_folders(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 400)).save(photos / "holiday" / "anna.jpg")
    table = tmp_path / "points.csv"
    points = {
        "anna.jpg": MEAN_FACE + 3,
        "holiday/anna.jpg": MEAN_FACE * 1.5,
        "dora": MEAN_FACE[MIRRORED],
        "x/carl": MEAN_FACE,
    }
    table.write_text("".join(f"{n},{','.join(map(str, p.ravel() - 0.5))}\n" for n, p in points.items()))
    chosen = plan([photos], None, "face178", 64, Alignment(True, table), None)
    assert {item.name: item.points for item in chosen.items} == {
        name: tuple(points[name].ravel().tolist()) for name in ("anna.jpg", "holiday/anna.jpg")
    }
    reasons = {name: reason for _, name, reason in chosen.rejected}
    assert "left and right" in reasons["dora.jpeg"] and "no landmarks" in reasons["holiday/carl.webp"]
    assert f"1 row of {table} fitted no image." in chosen.sentences


def test_all_that_is_said_is_so(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are those of the images that were kept, and nothing is told of CelebA where it is not."""
    (photos / "dora.jpeg").write_bytes(b"no picture")
    for name in ("old.bmp", "holiday/scan.TIFF", "notes.md"):
        (photos / name).write_bytes(b"whatever")
    monkeypatch.chdir(photos)
    monkeypatch.setenv("COLUMNS", "200")
    done = invoke("prepare", ".", "holiday", "-o", tmp_path / "out", "--size", 32, "--workers", 1)
    assert done.exit_code == 0, done.stderr
    dataset = open_dataset(tmp_path / "out")
    counts = dataset.info["counts"]
    assert sum(counts.values()) == 3
    assert f"A hash of the name put {counts['train']} in train and {counts['valid']} in valid." in done.stderr
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "captions of your own 3 " in said and "images without one 1 " in said and "annotation" not in said
    assert "with loss" not in said and dataset.info["lossy_source"] is False  # there is a WebP among them
    assert (dataset.info["captions"], dataset.info["left_out"]) == (3, {"rejected": 3, "repeats": 2})
    assert [source["name"] for source in dataset.info["source"]] == ["photos", "holiday"]
    rejected = (tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in rejected] == [
        "file", "photos/dora.jpeg", "photos/holiday/scan.TIFF", "photos/old.bmp",
    ]  # fmt: skip
    told = invoke("info", tmp_path / "out").stdout
    assert "square, the central squares\n" in told and "a hash of the name\n" in told


def test_something_is_left_to_train_on(tmp_path: Path) -> None:
    for number in range(24):  # a tenth of the names go to valid
        folder = tmp_path / f"in{number}"
        folder.mkdir()
        for name in ("a", "b"):
            Image.new("RGB", (40, 40)).save(folder / f"{name}-{number}.png")
        report = prepare(
            [folder], tmp_path / f"out{number}", annotations=None, caption="a man", size=32, workers=1, limit=1
        )
        assert report.counts == {"train": 1, "valid": 0, "test": 0}


def test_something_usable_is_left_to_train_on(tmp_path: Path) -> None:
    """The picture that a hash puts into valid is all that there is, where that of train cannot be read."""
    (tmp_path / "many").mkdir()
    for i in range(40):
        Image.new("RGB", (2, 2)).save(tmp_path / "many" / f"p{i}.png")
    many = plan([tmp_path / "many"], None, "square", 32, Alignment(False, None), "x")
    trained, held = (many.items[int(np.flatnonzero(many.codes == code)[0])].name for code in (0, 1))
    (tmp_path / "in").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "in" / held)
    (tmp_path / "in" / trained).write_bytes(b"no picture")
    report = prepare([tmp_path / "in"], tmp_path / "out", annotations=None, caption="a man", size=32, workers=1)
    assert (report.counts, report.rejected) == ({"train": 1, "valid": 0, "test": 0}, 1)
    assert list(rows(tmp_path / "out")) == [held]
    open_dataset(tmp_path / "out").verify()


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"c\xff")
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(folder / os.fsdecode(b"good\xfc.png"))
    (folder / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"no picture")
    (folder / os.fsdecode(b"gr\xfc.heic")).write_bytes(b"")
    report = prepare([folder], tmp_path / "out", annotations=None, caption="a man", size=32, workers=1)
    assert (sum(report.counts.values()), report.rejected) == (1, 2)
    lines = (tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("c\\udcff/bad\\udcff.jpg,") and lines[2].startswith("c\\udcff/gr\\udcfc.heic,")
    assert invoke("info", tmp_path / "out").exit_code == 0


def test_landmarks_of_a_named_file_come_before_those_of_metadata(photos: Path, tmp_path: Path) -> None:
    there = [[100 + 10 * i, 100 + 20 * (i % 3)] for i in range(5)]
    line = {"file_name": "anna.jpg", "text": "anna", "landmarks": there}
    (photos / "metadata.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    (tmp_path / "points.txt").write_text("anna.jpg 120 150 180 150 150 180 130 210 170 210\n")
    both = plan([photos], None, "face178", 64, Alignment(True, tmp_path / "points.txt"), "x")
    assert both.items[0].points[:2] == (120.5, 150.5)  # a pixel's place is its middle
    assert not any("fitted no image" in sentence for sentence in both.sentences)


def test_one_picture_is_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "in" / "a.png")
    done = invoke("prepare", tmp_path / "in", "-o", tmp_path / "out", "--size", 32, "--workers", 1)
    assert "1 image of 32 px" in done.stderr and "1 image in" in done.stderr and "1 images" not in done.stderr
