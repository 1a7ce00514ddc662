"""Drawing in batches: constant memory, order, what is there already, one batch for the same settings."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.errors import CelebgenError
from celebgen_cli.sampling import batches
from celebgen_cli.sampling.jobs import Job
from celebgen_cli.sampling.outputs import Place
from tests.sampling.fakes import FakeModel


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jobs(*prompts: str) -> list[Job]:
    return [Job(i, prompt, i) for i, prompt in enumerate(prompts)]


def test_ten_thousand_prompts_in_constant_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celebgen_cli.files.atomic_write_bytes", lambda path, data, new: None)
    monkeypatch.setattr(batches, "encoded", lambda *_: b"")  # Pillow leaves cycles, which would measure the collector
    monkeypatch.setattr(sys, "intern", str)  # pathlib interns the parts of paths, which Python 3.12 keeps for ever
    taken = 0

    def stream() -> Iterator[Job]:
        nonlocal taken
        for taken in range(10_000):
            yield Job(taken, f"man number {taken} " + "x" * 500, taken)

    def held() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    model, blocks = FakeModel(recorded=False), []
    for number, drawn in enumerate(batches.draw(model, stream(), Place.parsed("faces"))):
        assert drawn.job.index == number
        assert taken - number <= 16  # no prompt is read before its batch is due
        if number in (1000, 9999):
            blocks.append(held())
    assert model.faces == 10_000
    assert blocks[1] - blocks[0] < 2000  # a prompt kept anywhere is one at least, its job and metadata are several


def test_batches_share_settings_and_keep_the_order() -> None:
    model = FakeModel()
    some = [Job(i, f"p{i}", i, {"steps": 2} if i in (2, 3) else {}) for i in range(7)]
    found = list(batches.draw(model, some, Place.parsed("faces"), batch_size=2))
    assert [prompts for prompts, _, _ in model.calls] == [["p0", "p1"], ["p2", "p3"], ["p4", "p5"], ["p6"]]
    assert [settings["steps"] for _, _, settings in model.calls] == [3, 2, 3, 3]
    assert [drawn.job.index for drawn in found] == list(range(7))
    assert all(np.asarray(Image.open(drawn.path))[0, 0, 0] == drawn.job.seed for drawn in found if drawn.path)


def test_what_is_there_is_not_drawn_again() -> None:
    model, place = FakeModel(), Place.parsed("faces")
    some = jobs("a", "b", "c", "d", "e")
    for _, drawn in zip(range(2), batches.draw(model, some, place, batch_size=1), strict=False):
        assert not drawn.existed
    found = list(batches.draw(model, some, place, batch_size=2, pixels=True))
    assert [prompts for prompts, _, _ in model.calls] == [["a"], ["b"], ["c", "d"], ["e"]]
    assert [drawn.existed for drawn in found] == [True, True, False, False, False]
    assert [int(drawn.pixels[0, 0, 0]) for drawn in found] == [0, 1, 2, 3, 4]
    assert [drawn.seconds > 0 for drawn in found] == [False, False, True, True, True]


def test_frames_are_drawn_again_and_nothing_is_written_twice() -> None:
    model, place = FakeModel(), Place.parsed("faces")
    (first,) = batches.draw(model, [Job(0, "a", 9)], place)
    assert first.path is not None
    before = first.path.stat().st_mtime_ns
    (again,) = batches.draw(model, [Job(0, "a", 9)], place, frames=True)
    assert [int(frame[0, 0, 0]) for frame in again.frames] == [0, 3, 6, 9]
    assert again.existed
    assert first.path.stat().st_mtime_ns == before


def test_progress_counts_faces() -> None:
    seen: list[float] = []
    list(batches.draw(FakeModel(), jobs(*"abc"), Place.parsed("faces"), batch_size=2, progress=seen.append))
    assert seen == sorted(seen)
    assert seen[:3] == pytest.approx([2 / 3, 4 / 3, 2])
    assert seen[-1] == 3


def test_a_survey_sees_what_cannot_work() -> None:
    model, place = FakeModel(), Place.parsed("{slug}.png")
    known = batches.survey(model, jobs("a", "b"), place)
    assert known == batches.survey(model, jobs("a", "b"), place)
    assert known is not None
    assert known.count == 2
    assert known != batches.survey(model, jobs("a", "c"), place)
    with pytest.raises(CelebgenError, match="line 3: --steps must be from 1"):
        batches.survey(model, [*jobs("a"), Job(1, "b", 0, {"steps": 0}, "line 3")], place)
    Path("b.png").write_text("notes")
    with pytest.raises(CelebgenError, match=r"b\.png exists"):
        batches.survey(model, jobs("a", "b"), Place.parsed("{slug}.png"))
    assert model.calls == []
