"""`prepare` on drawn faces: right pixels in right rows, bad files left out and named, nothing half-written."""

import csv
import errno
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from celebgen_cli.data import pixels
from celebgen_cli.data import prepare as module
from celebgen_cli.data.annotations import read_attributes
from celebgen_cli.data.crops import CROPS
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.data.planning import mixed
from celebgen_cli.data.prepare import hash_partition, prepare
from celebgen_cli.errors import CelebgenError, UsageError
from tests.command import invoke, one_sentence
from tests.faces import write_celeba


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("celeba")
    write_celeba(folder, 20, 7)
    return folder


@pytest.fixture
def celeba(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "celeba"))


def rejected(dataset: Path) -> dict[str, str]:
    with (dataset / "rejected.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_row_is_its_image_and_its_annotations(original: Path, tmp_path: Path) -> None:
    report = prepare([original / "img_align_celeba"], tmp_path / "out", annotations=original, size=48, workers=1)
    assert report.counts == {"train": 14, "valid": 4, "test": 2}
    assert (report.found, report.repeats, report.rejected, report.rows_without_image) == (20, 0, 0, 0)
    table = read_attributes(original / "list_attr_celeba.txt")
    dataset = open_dataset(tmp_path / "out")
    dataset.verify()
    for name, first, last in (("train", 1, 14), ("valid", 15, 18), ("test", 19, 20)):
        split = dataset.split(name)
        assert split.ids.tolist() == list(range(first, last + 1))
        np.testing.assert_array_equal(split.attributes, table.values[first - 1 : last])
        assert split.identity.tolist() == [1 + (number - 1) // 2 for number in split.ids]
        for number, image_pixels in zip(split.ids, split.images, strict=True):
            image = Image.open(original / "img_align_celeba" / f"{number:06d}.jpg")
            expected = image.crop((0, 20, 178, 198)).resize((48, 48), Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(image_pixels, np.asarray(expected))
    assert not dataset.info["lossy_source"] and not dataset.info["already_cropped"]
    assert str(tmp_path) not in (tmp_path / "out" / "dataset.json").read_text()


@pytest.mark.parametrize("crop", list(CROPS))
def test_the_named_crop_is_cut_and_recorded(original: Path, tmp_path: Path, crop: str) -> None:
    prepare([original / "img_align_celeba"], tmp_path / "out", annotations=original, size=32, crop=crop, workers=1)
    dataset = open_dataset(tmp_path / "out")
    box = CROPS[crop]
    assert dataset.info["crop"] == {"name": crop, "box": list(box) if box else None}
    image = Image.open(original / "img_align_celeba" / "000001.jpg")
    expected = (image.crop(box) if box else image).resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(dataset.split("train").images[0], np.asarray(expected))


def test_folder_zip_dialect_and_workers_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "CHUNK", 4)
    datasets = []
    for as_zip, dialect, workers in ((False, "txt", 1), (True, "txt", 2), (True, "csv", 1)):
        folder = tmp_path / f"{as_zip}-{dialect}"
        source = write_celeba(folder, 20, 7, as_zip=as_zip, dialect=dialect)
        calls: list[tuple[int, int]] = []
        prepare(
            [source],
            tmp_path / f"out-{as_zip}-{dialect}",
            annotations=folder,
            size=32,
            workers=workers,
            progress=lambda done, total, calls=calls: calls.append((done, total)),  # type: ignore[misc]
        )
        assert calls[0] == (0, 20) and calls[-1] == (20, 20) and calls == sorted(calls)
        files = tree(tmp_path / f"out-{as_zip}-{dialect}")
        datasets.append({name: data for name, data in files.items() if name.endswith(".npy")})
    assert datasets[0] == datasets[1]
    assert {name: data for name, data in datasets[0].items() if "identity" not in name} == {
        name: data for name, data in datasets[2].items() if "identity" not in name
    }


def test_same_input_same_bytes_everywhere(original: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare([original / "img_align_celeba"], tmp_path / name, annotations=original, size=32, workers=1)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_bad_files_are_left_out_counted_and_named(celeba: Path, tmp_path: Path) -> None:
    images = celeba / "img_align_celeba"
    (images / "000002.jpg").write_text("not an image")
    (images / "000003.jpg").write_bytes((images / "000003.jpg").read_bytes()[:2000])
    (images / "000016.jpg").write_bytes(b"")
    Image.new("RGB", (100, 100)).save(images / "000017.jpg")
    (images / "me.jpg").write_bytes((images / "000001.jpg").read_bytes())
    (images / "000777.jpg").write_bytes((images / "000001.jpg").read_bytes())
    (images / "000020.jpg").unlink()
    report = prepare([images], tmp_path / "out", annotations=celeba, size=32, workers=1)
    assert report.counts == {"train": 12, "valid": 2, "test": 1}
    assert (report.found, report.rejected, report.rows_without_image) == (21, 6, 1)
    reasons = rejected(tmp_path / "out")
    expected = {
        "000002.jpg": "not a JPEG",
        "000003.jpg": "cannot be decoded",
        "000016.jpg": "empty",
        "000017.jpg": "100x100",
        "000777.jpg": "no row in the attribute file",
        "me.jpg": "not a number",
    }
    assert {name.removeprefix("img_align_celeba/") for name in reasons} == set(expected)
    for name, reason in expected.items():
        assert reason in reasons[f"img_align_celeba/{name}"]
    dataset = open_dataset(tmp_path / "out")
    dataset.verify()
    split = dataset.split("train")
    assert split.ids.tolist() == [1, *range(4, 15)]
    np.testing.assert_array_equal(split.attributes[1], read_attributes(celeba / "list_attr_celeba.txt").values[3])
    fourth = Image.open(images / "000004.jpg").crop((0, 20, 178, 198)).resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(split.images[1], np.asarray(fourth))
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == [
        "attributes.npy", "identity.npy", "ids.npy", "images.npy",
    ]  # fmt: skip


def test_a_split_whose_images_are_all_bad_is_empty(celeba: Path, tmp_path: Path) -> None:
    for number in (19, 20):
        (celeba / "img_align_celeba" / f"{number:06d}.jpg").write_text("broken")
    prepare([celeba / "img_align_celeba"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.splits == ("train", "valid") and dataset.info["counts"]["test"] == 0
    assert not (tmp_path / "out" / "test").exists()


def test_a_number_met_twice_is_taken_from_the_first_source(celeba: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "deep" / "folder"
    other.mkdir(parents=True)
    Image.new("RGB", (178, 218), (255, 0, 0)).save(other / "000001.png")
    first = celeba / "img_align_celeba"
    report = prepare([tmp_path / "other", first], tmp_path / "red", annotations=celeba, size=32, workers=1)
    assert (report.found, report.repeats, sum(report.counts.values())) == (21, 1, 20)
    assert (open_dataset(tmp_path / "red").split("train").images[0] == (255, 0, 0)).all()
    prepare([first, tmp_path / "other"], tmp_path / "face", annotations=celeba, size=32, workers=1)
    assert not (open_dataset(tmp_path / "face").split("train").images[0] == (255, 0, 0)).all()


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_images_cropped_already_keep_their_pixels(celeba: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cropped"
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "000001.png")
    Image.fromarray(noise).save(folder / "000002.avif", quality=90)
    Image.new("RGB", (64, 64), (9, 9, 9)).save(folder / "000003.png")
    Image.new("RGB", (178, 218)).save(folder / "000004.png")
    report = prepare([folder], tmp_path / "out", annotations=celeba, size=32, already="ddim", crop="face178", workers=1)
    assert report.lossy_source and report.counts["train"] == 3
    assert "square" in rejected(tmp_path / "out")["cropped/000004.png"]
    dataset = open_dataset(tmp_path / "out")
    assert dataset.crop == "ddim" and dataset.info["already_cropped"] and dataset.info["lossy_source"]
    images = dataset.split("train").images
    np.testing.assert_array_equal(images[0], noise)
    np.testing.assert_array_equal(images[1], np.asarray(Image.open(folder / "000002.avif")))
    assert (images[2] == 9).all()


def test_without_partition_and_identity_a_hash_decides(celeba: Path, tmp_path: Path) -> None:
    (celeba / "list_eval_partition.txt").unlink()
    (celeba / "identity_CelebA.txt").unlink()
    report = prepare([celeba / "img_align_celeba"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    dataset = open_dataset(tmp_path / "out")
    assert report.partition == dataset.info["partition"] == "hash"
    codes = hash_partition(np.arange(1, 21))
    assert dataset.split("train").ids.tolist() == (np.flatnonzero(codes == 0) + 1).tolist()
    assert (dataset.split("train").identity == -1).all()


def test_hash_partition_is_a_tenth_and_depends_on_the_number_alone() -> None:
    codes = hash_partition(np.arange(1, 202_600))
    assert set(np.unique(codes)) == {0, 1} and 0.097 < codes.mean() < 0.103
    assert hash_partition(np.array([500, 7])).tolist() == [codes[499], codes[6]]
    assert (np.flatnonzero(codes)[:5] + 1).tolist() == [2, 18, 29, 30, 31]  # never to change: splits depend on it
    assert int(mixed(np.array([0]))[0]) == 0xE220A8397B1DCDAF  # the first number of SplitMix64 seeded with 0


def test_limit_keeps_the_share_of_each_split(original: Path, tmp_path: Path) -> None:
    report = prepare(
        [original / "img_align_celeba"], tmp_path / "out", annotations=original, size=32, workers=1, limit=9
    )
    assert sum(report.counts.values()) == 9 and len(open_dataset(tmp_path / "out").splits) >= 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": 16}, "size 16 is not between 32 and 256"),
        ({"crop": "face"}, "no crop named 'face'"),
        ({"already": "face"}, "no crop named 'face'"),
        ({"workers": 0}, "workers"),
        ({"limit": 0}, "limit"),
        ({"sources": []}, "nothing to prepare"),
        ({"sources": [Path("nowhere.zip")]}, "nowhere.zip does not exist"),
    ],
)
def test_wrong_usage_leaves_nothing(original: Path, tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    arguments: dict[str, object] = {"sources": [original / "img_align_celeba"], "annotations": original} | changes
    with pytest.raises(UsageError, match=sentence):
        prepare(out=tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_missing_annotations_are_asked_for(original: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CelebgenError, match="no list_attr_celeba.*--annotations"):
        prepare([original / "img_align_celeba"], tmp_path / "out", annotations=tmp_path / "empty")


def test_no_usable_image_is_an_error(celeba: Path, tmp_path: Path) -> None:
    for path in (celeba / "img_align_celeba").iterdir():
        path.write_text("broken")
    with pytest.raises(CelebgenError, match="none of 20 images could be used.*not a JPEG"):
        prepare([celeba / "img_align_celeba"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    for path in list((celeba / "img_align_celeba").iterdir()):
        path.rename(path.with_name(f"9{path.name}"))
    with pytest.raises(CelebgenError, match="none of the 20 images has a row"):
        prepare([celeba / "img_align_celeba"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["celeba"]


def test_existing_output_is_kept_unless_forced(original: Path, tmp_path: Path) -> None:
    source, out = [original / "img_align_celeba"], tmp_path / "out"
    out.mkdir()
    prepare(source, out, annotations=original, size=32, workers=1)  # an empty folder may be filled
    before = tree(out)
    with pytest.raises(UsageError, match="exists already.*--force"):
        prepare(source, out, annotations=original, size=64, workers=1)
    assert tree(out) == before
    prepare(source, out, annotations=original, size=64, workers=1, force=True)
    assert open_dataset(out).size == 64
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_text("mine")
    with pytest.raises(UsageError, match="not a prepared dataset"):
        prepare(source, tmp_path / "photos", annotations=original, size=32, workers=1, force=True)
    assert (tmp_path / "photos" / "dear.jpg").read_text() == "mine"


@pytest.mark.parametrize("read", ["sources", "annotations"])
def test_what_is_read_is_never_replaced(original: Path, tmp_path: Path, read: str) -> None:
    source, out = original / "img_align_celeba", tmp_path / "out"
    prepare([source], out, annotations=original, size=32, workers=1)
    shutil.copytree(original, out / "latents" / "mine")
    inner = out / "latents" / "mine"
    words = {"sources": ([inner / source.name], original), "annotations": ([source], inner)}[read]
    before = tree(out)
    for force in (True, False):
        with pytest.raises(UsageError, match=r"would be gone; choose another place|exists already"):
            prepare(words[0], out, annotations=words[1], size=32, workers=1, force=force)
    assert tree(out) == before


def test_what_no_dataset_has_is_not_deleted(original: Path, tmp_path: Path) -> None:
    source, out = [original / "img_align_celeba"], tmp_path / "out"
    prepare(source, out, annotations=original, size=32, workers=1)
    (out / "latents").mkdir()
    (out / ".DS_Store").write_text("")
    prepare(source, out, annotations=original, size=64, workers=1, force=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, which no dataset has and --force would delete"):
        prepare(source, out, annotations=original, size=32, workers=1, force=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert open_dataset(out).size == 64
    (out / "notes.txt").rename(out / "train" / "mine.txt")
    with pytest.raises(UsageError, match=r"holds train/mine\.txt, which no dataset has"):
        prepare(source, out, annotations=original, size=32, workers=1, force=True)
    (out / "train" / "mine.txt").unlink()
    (out / "dataset.json").write_text("[]")
    with pytest.raises(UsageError, match="is not a prepared dataset"):
        prepare(source, out, annotations=original, size=32, workers=1, force=True)


def test_the_folder_that_one_is_in_is_not_pulled_away(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    prepare([original / "img_align_celeba"], tmp_path / "data", annotations=original, size=32, workers=1)
    for place, out in ((tmp_path / "empty", "."), (tmp_path / "data", "."), (tmp_path / "data" / "train", "..")):
        monkeypatch.chdir(place)
        words = ("prepare", original / "img_align_celeba", "-o", out, "--size", 32, "--force", "-q", "--workers", 1)
        assert "while you are in it" in one_sentence(invoke(*words), 2)
        assert place.is_dir() and Path.cwd() == place


def test_a_full_disk_leaves_nothing(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_sync_and_hash", fail)
    with pytest.raises(CelebgenError, match="the disk is full"):
        prepare([original / "img_align_celeba"], tmp_path / "out", annotations=original, size=32, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_room_is_checked_before_the_work(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CelebgenError, match="needs .* MiB"):
        prepare([original / "img_align_celeba"], tmp_path / "out", annotations=original, size=32, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_hostile_names_in_a_zip_touch_nothing(celeba: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        data = (celeba / "img_align_celeba" / "000001.jpg").read_bytes()
        for name in ("../000001.jpg", "/etc/000002.jpg", "ok/000003.jpg"):
            archive.writestr(name, data)
    before = sorted(os.listdir(tmp_path))
    prepare([tmp_path / "evil.zip"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "out"])
    assert open_dataset(tmp_path / "out").split("train").ids.tolist() == [2, 3]


def test_dataset_json_names_what_made_it(original: Path, tmp_path: Path) -> None:
    prepare([original / "img_align_celeba"], tmp_path / "out", annotations=original, size=32, workers=1)
    info = json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))
    assert info["filter"] == "lanczos" and info["size"] == 32
    assert info["source"][0]["name"] == "img_align_celeba" and info["source"][0]["images"] == 20
    assert set(info["annotations"]) == {"attributes", "partition", "identity"}
    assert set(info["tools"]) >= {"pillow", "numpy"}
