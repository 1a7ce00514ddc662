"""Names of files: patterns, what is there already, and what may not be overwritten."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.sampling.jobs import Job, metadata_of, resolve
from celebgen_cli.sampling.outputs import Place, encoded, slug
from tests.sampling.fakes import FakeModel

MODEL = FakeModel()


def planned(job: Job) -> dict[str, Any]:
    return metadata_of(MODEL, job, resolve(MODEL, job))


def put(path: Path, job: Job) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {".jpg": "jpeg"}.get(path.suffix, path.suffix[1:])
    path.write_bytes(encoded(MODEL.sample([job.prompt], [job.seed], steps=1)[0], form, planned(job)))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_kinds() -> None:
    Path("folder.png").mkdir()
    found = {text: Place.parsed(text) for text in ("-", "faces", "a.JPG", "x/{seed}.webp", "folder.png")}
    assert [(place.kind, place.form) for place in found.values()] == [
        ("stdout", "png"), ("folder", "png"), ("file", "jpeg"), ("pattern", "webp"), ("folder", "png"),
    ]  # fmt: skip
    assert Place.parsed("faces", "webp").form == "webp"


def test_pattern_fields() -> None:
    job = Job(7, "Old Man!", 3, {"guidance": 2.5})
    place = Place.parsed("{model}/{{x}}/{index:04d}_{seed}_{slug}_{steps:03}_{sampler}_{guidance}.png")
    assert place.find(job, planned(job)) == (Path("fake/{x}/0007_3_old-man_003_ddim_2.5.png"), False)


@pytest.mark.parametrize(
    "pattern",
    [
        "{index.__class__}.png", "{index[0]}.png", "{seed!r}.png", "{prompt}.png", "{}.png", "{0}.png", "{index.png",
        "index}.png", "{index:999999d}.png", "{index:{seed}}.png", "{slug:>99}.png", "{{x}}.png", "{index}.gif",
        "{index}", "{index:x}.png",
    ],
)  # fmt: skip
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError) as error:
        Place.parsed(pattern)
    assert len(str(error.value).splitlines()) == 1


@given(st.text(max_size=20))
@settings(max_examples=300)
def test_any_pattern_is_read_or_refused(text: str) -> None:
    try:
        place = Place.parsed("{index}" + text + ".png")
    except UsageError:
        return
    assert isinstance(place.find(Job(0, "man", 0), planned(Job(0, "man", 0)))[0], Path)


@given(st.text(max_size=80))
def test_slugs_are_safe(text: str) -> None:
    made = slug(text)
    assert made
    assert len(made) <= 48
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not made.startswith("-")


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_a_folder_keeps_what_is_there(form: str) -> None:
    suffix = {"jpeg": "jpg"}.get(form, form)
    job, other = Job(0, "man", 1), Job(0, "man", 1, {"steps": 2})
    place = Place.parsed("faces", form)
    path = Path(f"faces/0000_1_man.{suffix}")
    assert place.find(job, planned(job)) == (path, False)
    put(path, job)
    assert place.find(job, planned(job)) == (path, True)
    assert place.find(other, planned(other)) == (Path(f"faces/0000_1_man-1.{suffix}"), False)
    put(Path(f"faces/0000_1_man-1.{suffix}"), other)
    assert place.find(other, planned(other)) == (Path(f"faces/0000_1_man-1.{suffix}"), True)
    assert Place.parsed("faces", form, force=True).find(other, planned(other)) == (path, False)


@pytest.mark.parametrize("output", ["face.png", "{seed}.png"])
def test_files_and_patterns_are_not_overwritten(output: str) -> None:
    job, other = Job(0, "man", 1), Job(0, "woman", 1)
    path, _ = Place.parsed(output).find(job, planned(job))
    put(path, job)
    assert Place.parsed(output).find(job, planned(job)) == (path, True)
    with pytest.raises(CelebgenError, match=rf"{path} exists and is another picture; add --force"):
        Place.parsed(output).find(other, planned(other))
    assert Place.parsed(output, force=True).find(other, planned(other)) == (path, False)
    path.write_text("somebody's notes")
    with pytest.raises(CelebgenError, match="exists and is another picture"):
        Place.parsed(output).find(job, planned(job))


def test_one_name_for_two_faces() -> None:
    place, job = Place.parsed("{slug}.png"), Job(0, "man", 1)
    place.find(job, planned(job))
    with pytest.raises(UsageError, match=r"gives man\.png to two faces; put \{index\} or \{seed\} in it"):
        place.find(Job(1, "man", 2), planned(job))


def test_contradictions() -> None:
    with pytest.raises(UsageError, match="contradict"):
        Place.parsed("a.png", "webp")
    with pytest.raises(UsageError, match="--format is one of"):
        Place.parsed("faces", "gif")
    with pytest.raises(UsageError, match="NUL"):
        Place.parsed("a\0")
