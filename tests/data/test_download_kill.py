"""`kill -9` at many moments of a download, and the same command again: the same files as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.command import ENVIRONMENT, start
from tests.data.loopback import File, serve

FILES = 600
SCRIPT = "import sys; from celebgen_cli.data.download import download; download(sys.argv[1], sys.argv[2])"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kill") / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for number in range(1, FILES + 1):
            zipped.writestr(f"img_align_celeba/{number:06d}.jpg", (b"%06d" % number) * 150)
    return path


def begin(source: object, out: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | ENVIRONMENT | {"no_proxy": "*"}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(source), str(out)], env=environment)


def kill_when(process: subprocess.Popen[bytes], ready: object) -> bool:
    """Kill the process as soon as `ready()` holds; whether it was still running then."""
    end = time.monotonic() + 30
    while process.poll() is None and not ready() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def expected(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_while_fetching(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    body, out = archive.read_bytes(), tmp_path / "out"
    part = out / "img_align_celeba.zip.part"
    with serve() as server:
        server.files = {"/img_align_celeba.zip": File(body, {"ETag": '"one"'}, block=20_000, pause=0.02)}
        url = f"{server.url}/img_align_celeba.zip"
        kills = 0
        for share in (0.0, 0.3, 0.7):
            kills += kill_when(begin(url, out), lambda s=share: part.exists() and part.stat().st_size > s * len(body))
        assert kills == 3 and body.startswith(part.read_bytes())
        server.files[f"/{archive.name}"].pause = 0.0
        assert begin(url, out).wait() == 0
        starts = [int(given.removeprefix("bytes=").removesuffix("-")) for _, given in server.requests if given]
        assert len(starts) >= 2 and starts == sorted(starts) and starts[-1] > 0.7 * len(body)
    assert everything(out) == expected(archive)
    assert sorted(path.name for path in out.iterdir()) == ["img_align_celeba"]


def test_killed_while_unpacking(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def staged(count: int) -> bool:
        found = (files for place in out.glob(".unpack-*") for _, _, files in os.walk(place))  # walk survives removals
        return sum(map(len, found)) >= count

    def placed() -> bool:
        return (out / "img_align_celeba" / "000001.jpg").exists()

    for ready in (lambda: any(out.glob(".unpack-*")), lambda: staged(FILES // 2), placed):
        kill_when(begin(archive, out), ready)
    assert begin(archive, out).wait() == 0
    assert everything(out) == expected(archive)
    assert sorted(path.name for path in out.iterdir()) == ["img_align_celeba"]


def test_the_command_refuses_a_folder_that_another_fills(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as server:
        server.files = {"/a.zip": File(archive.read_bytes(), block=1000, pause=0.1)}
        first = begin(f"{server.url}/a.zip", tmp_path / "out")
        try:
            while not server.requests:
                time.sleep(0.01)
            second = start("download", "--source", archive, "-o", "out", "--accept-terms", cwd=tmp_path)
            out, err = second.communicate(timeout=60)
            assert (second.returncode, out) == (1, "") and "another download fills out right now" in err
        finally:
            first.kill()
            first.wait()
