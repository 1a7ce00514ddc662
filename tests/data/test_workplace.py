"""Killed at any moment and started again: the same bytes as an undisturbed run; two at once do not meet."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from celebgen_cli.data import pixels
from celebgen_cli.data.prepare import prepare
from celebgen_cli.data.workplace import JOURNAL, Journal, workplace
from celebgen_cli.errors import CelebgenError, UsageError
from tests.faces import write_celeba

SCRIPT = """
import sys, time
from pathlib import Path
from celebgen_cli.data import pixels, sources
pixels.CHUNK = 4
plain = pixels.decode_rgb
pixels.decode_rgb = lambda data: (time.sleep(0.02), plain(data))[1]  # slow enough to be killed in the middle
from celebgen_cli.data.prepare import prepare
prepare([Path(sys.argv[1]) / "img_align_celeba"], Path(sys.argv[2]), annotations=Path(sys.argv[1]), size=32, workers=1)
"""


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("celeba")
    write_celeba(folder, 40, 7)
    (folder / "img_align_celeba" / "000003.jpg").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def undisturbed(celeba: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    prepare([celeba / "img_align_celeba"], out, annotations=celeba, size=32, workers=1)
    return tree(out)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_workers_end_with_a_killed_parent(celeba: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        SCRIPT.replace("workers=1", "workers=2").replace("prepare([", "__name__ == '__main__' and prepare([")
    )
    process = subprocess.Popen(
        [sys.executable, str(script), str(celeba), str(tmp_path / "out")], stderr=subprocess.DEVNULL
    )
    journal = tmp_path / ".out.partial" / JOURNAL
    while process.poll() is None and (not journal.exists() or not journal.read_bytes()):
        time.sleep(0.005)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.wait()
    assert len(children) >= 2
    until = time.monotonic() + 10
    while any(alive(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in children)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_was_set_aside_by_a_killed_run_goes(tmp_path: Path) -> None:
    (tmp_path / ".out.old").mkdir()
    with workplace(tmp_path / "out", "key", 0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_kill_and_go_on(celeba: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out, script = tmp_path / "out", tmp_path / "run.py"
    script.write_text(SCRIPT)
    for after in (1, 4, 7):  # lines of the journal after which the process is killed
        process = subprocess.Popen([sys.executable, str(script), str(celeba), str(out)])
        journal = tmp_path / ".out.partial" / JOURNAL
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < after):
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
    done = Journal(journal).read()
    assert len(done) >= 7
    calls = []
    prepare_slowly = pixels._do_rows
    try:
        pixels._do_rows = lambda *a: (calls.append(1), prepare_slowly(*a))[1]  # type: ignore[assignment]
        pixels.CHUNK, before = 4, pixels.CHUNK
        prepare([celeba / "img_align_celeba"], out, annotations=celeba, size=32, workers=1)
    finally:
        pixels._do_rows, pixels.CHUNK = prepare_slowly, before
    assert tree(out) == undisturbed
    assert 0 < len(calls) <= 11 - len(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run.py"]


def test_pixels_that_do_not_fit_the_journal_are_made_again(
    celeba: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celebgen_cli.data import prepare as module

    def stop(path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_sync_and_hash", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare([celeba / "img_align_celeba"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    images = tmp_path / ".out.partial" / "train" / "images.npy"
    data = bytearray(images.read_bytes())
    data[200] ^= 255
    images.write_bytes(data)
    prepare([celeba / "img_align_celeba"], tmp_path / "out", annotations=celeba, size=32, workers=1)
    assert tree(tmp_path / "out") == undisturbed


def test_other_settings_begin_anew(celeba: Path, tmp_path: Path) -> None:
    stale = tmp_path / ".out.partial"
    stale.mkdir()
    (stale / "litter").write_text("x")
    with workplace(tmp_path / "out", "key", 0) as folder:
        assert list(path.name for path in folder.iterdir()) == ["key.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_error_leaves_nothing_and_an_interruption_the_work(tmp_path: Path) -> None:
    for error, left in ((CelebgenError("no"), []), (KeyboardInterrupt(), [".out.partial"])):
        with pytest.raises(type(error)), workplace(tmp_path / "out", "key", 0) as folder:
            (folder / "part").write_text("half")
            raise error
        assert sorted(path.name for path in tmp_path.iterdir()) == left
    with workplace(tmp_path / "out", "key", 0) as folder:
        assert (folder / "part").read_text() == "half"


def test_what_can_be_gone_on_from_outlives_an_error(tmp_path: Path) -> None:
    for error in (CelebgenError("no"), OSError(28, "No space left on device")):
        with pytest.raises(CelebgenError), workplace(tmp_path / "out", "key", 0, keep=lambda f: True) as folder:
            (folder / "part").write_text("half")
            raise error
        assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    with workplace(tmp_path / "out", "key", 0) as folder:
        assert (folder / "part").read_text() == "half"


def test_holes_in_files_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), workplace(tmp_path / "out", "key", 0) as folder:
        with (folder / "images.npy").open("wb") as file:
            file.truncate(2**30)
        raise KeyboardInterrupt
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(CelebgenError, match="needs 1024 MiB"), workplace(tmp_path / "out", "key", 2**30):
        pass


def test_two_at_once(tmp_path: Path) -> None:
    with workplace(tmp_path / "out", "key", 0):
        with pytest.raises(UsageError, match="another process is writing"), workplace(tmp_path / "out", "key", 0):
            pass
        assert (tmp_path / ".out.partial").is_dir()
    assert (tmp_path / "out").is_dir()


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert journal.read() == []
    journal.add({"task": 1})
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"task": 2')
    assert journal.read() == [{"task": 1}]
    journal.add({"task": 3})
    assert journal.read() == [{"task": 1}, {"task": 3}]
    with (tmp_path / "j").open("ab") as file:
        file.write(b"\0" * 30 + b"\n")  # as a loss of power leaves it
    journal.add({"task": 4})
    assert journal.read() == [{"task": 1}, {"task": 3}] == journal.read()
    shutil.rmtree(tmp_path)
