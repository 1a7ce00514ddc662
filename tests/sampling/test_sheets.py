"""Grid, animation and page."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.sampling.batches import draw
from celebgen_cli.sampling.jobs import Job
from celebgen_cli.sampling.outputs import Place
from celebgen_cli.sampling.sheets import Animation, Grid, Page, Sheet
from tests.sampling.fakes import FakeModel


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(sheet: Sheet, *jobs: Job) -> Sheet:
    for drawn in draw(FakeModel(), jobs, Place.parsed("faces"), pixels=True, frames=sheet.needs_frames):
        sheet.add(drawn)
    sheet.close()
    return sheet


JOBS = (Job(0, 'a <b> & "c"', 90), Job(1, "عجوز", 200, {"steps": 2}))


def test_the_animation_goes_from_the_prior_to_the_faces() -> None:
    made(Animation("x.gif", 2), *JOBS)
    with Image.open("x.gif") as gif:
        found, durations = [], []
        for frame in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(frame)
            found.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
    assert [frame.shape for frame in found] == [(8, 18, 3)] * 4
    assert [int(frame[0, 0, 0]) for frame in found] == pytest.approx([0, 30, 60, 90], abs=2)
    assert [int(frame[0, 17, 0]) for frame in found] == pytest.approx(
        [0, 100, 200, 200], abs=2
    )  # the shorter one waits
    assert durations[-1] > 5 * durations[0]


def test_the_page_is_one_file_with_the_pictures_inside() -> None:
    made(Page("new/x.html"), *JOBS)
    text = Path("new/x.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "a &lt;b&gt; &amp; &quot;c&quot;" in text
    assert "<b>" not in text
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))))[0, 0, 0] for one in pictures] == [90, 200]
    assert [path.name for path in Path("new").iterdir()] == ["x.html"]


@pytest.mark.parametrize(("kind", "name"), [(Grid, "x.png"), (Animation, "x.gif"), (Page, "x.html")])
def test_sheets_are_written_again_by_the_same_call_only(kind: type[Sheet], name: str) -> None:
    digest = made(kind(name), *JOBS).mark.split(":")[1]
    content = Path(name).read_bytes()
    kind(name).check(digest)
    kind(name).check(None)  # not known yet: it is such a sheet
    made(kind(name), *JOBS)
    assert Path(name).read_bytes() == content
    with pytest.raises(CelebgenError, match="exists and shows something else; add --force"):
        kind(name).check("0" * 64)
    with pytest.raises(CelebgenError, match="add --force"):
        made(kind(name), JOBS[0])
    assert Path(name).read_bytes() == content
    assert sorted(path.name for path in Path().iterdir()) == ["faces", name]
    made(kind(name, force=True), JOBS[0])
    assert Path(name).read_bytes() != content
    Path(name).write_text("notes")
    with pytest.raises(CelebgenError, match="add --force"):
        kind(name).check(None)


def test_an_abandoned_page_leaves_nothing() -> None:
    page = Page("x.html")
    page.add(next(draw(FakeModel(), JOBS, Place.parsed("faces"))))
    page.abandon()
    assert [path.name for path in Path().iterdir()] == ["faces"]


@pytest.mark.parametrize(
    ("kind", "name"), [(Grid, "x.jpg"), (Animation, "x.png"), (Page, "x"), (Grid, ""), (Page, "\0")]
)
def test_names_that_are_refused(kind: type[Sheet], name: str) -> None:
    with pytest.raises(UsageError, match=kind.option):
        kind(name)
