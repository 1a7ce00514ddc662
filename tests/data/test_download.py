"""Getting archives: local files, a loopback server that misbehaves, and archives that are out to harm."""

import hashlib
import shutil
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from celebgen_cli.data.download import download, unpack
from celebgen_cli.errors import CelebgenError, UsageError
from tests.faces import write_celeba


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"), 4, as_zip=True)


class Handler(BaseHTTPRequestHandler):
    """Serves what the test puts in `answers`: path -> (status, headers, body)."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def do_GET(self) -> None:
        status, headers, body = self.answers.get(self.path.partition("?")[0], (404, {}, b"gone"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    Handler.answers = {}
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_local_archive_is_unpacked_and_left_where_it_is(archive: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    before = archive.read_bytes()
    result = download(str(archive), tmp_path / "out", progress=lambda done, total: calls.append((done, total)))
    assert result == [tmp_path / "out"]
    with zipfile.ZipFile(archive) as zipped:
        assert tree(tmp_path / "out") == {name: zipped.read(name) for name in zipped.namelist()}
    assert archive.read_bytes() == before
    assert calls[-1][0] == calls[-1][1] == sum(len(data) for data in tree(tmp_path / "out").values())


def test_other_files_are_copied_and_addresses_of_files_work(archive: Path, tmp_path: Path) -> None:
    source = archive.parent / "list_attr_celeba.txt"
    for address in (str(source), source.as_uri()):
        assert download(address, tmp_path) == [tmp_path / source.name]
        assert tree(tmp_path) == {source.name: source.read_bytes()}


def test_fetched_archive_is_unpacked_and_removed(archive: Path, tmp_path: Path, server: str) -> None:
    body = archive.read_bytes()
    Handler.answers = {"/a/img.zip": (302, {"Location": "/b/celeba.zip?x=1"}, b""), "/b/celeba.zip": (200, {}, body)}
    md5 = hashlib.md5(body).hexdigest()
    assert download(f"{server}/a/img.zip", tmp_path / "out", md5=md5.upper()) == [tmp_path / "out"]
    with zipfile.ZipFile(archive) as zipped:
        assert sorted(tree(tmp_path / "out")) == sorted(zipped.namelist())


@pytest.mark.parametrize(
    ("address", "disposition", "name"),
    [
        ("/list%20attr.txt", None, "list attr.txt"),
        ("/x", 'attachment; filename="list_attr_celeba.txt"', "list_attr_celeba.txt"),
        ("/x", 'attachment; filename="../../evil.txt"', "evil.txt"),
        ("/x", 'attachment; filename="..\\\\..\\\\evil.txt"', "evil.txt"),
        ("/x", 'attachment; filename="...."', "download"),
        ("/", None, "download"),
    ],
)
def test_the_name_of_a_fetched_file(
    tmp_path: Path, server: str, address: str, disposition: str | None, name: str
) -> None:
    headers = {"Content-Disposition": disposition} if disposition else {}
    Handler.answers = {address: (200, headers, b"000001.jpg 0\n")}
    assert download(server + address, tmp_path / "out") == [tmp_path / "out" / name]
    assert tree(tmp_path) == {f"out/{name}": b"000001.jpg 0\n"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((404, {}, b"gone"), "answers 404"),
        ((503, {}, b"later"), "answers 503"),
        ((200, {"Content-Type": "text/html"}, b"\n<!DOCTYPE html><html>Quota exceeded</html>"), "web page instead of"),
        ((200, {"Content-Length": "5000"}, b"PK\x03\x04 cut"), "cut|broken answer"),
        ((200, {}, b""), "sent 0 bytes"),
        ((200, {}, b"PK\x03\x04 damaged"), "cut off or damaged"),
        ((200, {}, b"Rar! another format"), "neither a folder nor a zip"),
    ],
)
def test_bad_answers_leave_nothing(
    tmp_path: Path, server: str, answer: tuple[int, dict[str, str], bytes], sentence: str
) -> None:
    Handler.answers = {"/img.zip": answer}
    with pytest.raises(CelebgenError, match=sentence) as caught:
        download(f"{server}/img.zip", tmp_path / "out")
    assert server in str(caught.value)
    assert tree(tmp_path) == {}


def test_a_server_that_is_not_there(tmp_path: Path, server: str) -> None:
    port = int(server.rpartition(":")[2])
    with pytest.raises(CelebgenError, match="cannot be reached"):
        download(f"http://127.0.0.1:{1 if port != 1 else 2}/img.zip", tmp_path)


def test_a_server_that_stalls(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda self: release.wait(5))
    try:
        with pytest.raises(CelebgenError, match="no answer|timed out"):
            download(f"{server}/img.zip", tmp_path, timeout=0.2)
    finally:
        release.set()


def test_another_md5_is_refused(archive: Path, tmp_path: Path, server: str) -> None:
    Handler.answers = {"/img.zip": (200, {}, archive.read_bytes())}
    for source in (str(archive), f"{server}/img.zip"):
        with pytest.raises(CelebgenError, match=f"MD5 .* not {'0' * 32}"):
            download(source, tmp_path / "out", md5="0" * 32)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("auto", "Kaggle.*jessicali9530/celeba-dataset.*mmlab.*--source FILE\\|URL"),
        ("google-drive", "--source google-drive cannot"),
        ("ftp://example.org/a.zip", "not an http"),
        ("nowhere.zip", "nowhere.zip does not exist"),
        (".", "is a folder"),
    ],
)
def test_sources_that_cannot_be(tmp_path: Path, source: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        download(source, tmp_path / "out")


def test_what_is_no_md5_and_no_folder(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'12' is not an MD5"):
        download(str(archive), tmp_path / "out", md5="12")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        download(str(archive), tmp_path / "file")


def test_a_web_page_saved_as_zip(tmp_path: Path) -> None:
    (tmp_path / "img.zip").write_text("<html><body>Google Drive - Quota exceeded</body></html>")
    with pytest.raises(CelebgenError, match="is a web page"):
        download(str(tmp_path / "img.zip"), tmp_path / "out")


def hostile(path: Path, kind: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img_align_celeba/000001.jpg", b"harmless")
        if kind == "link":
            info = zipfile.ZipInfo("img_align_celeba/link")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc")
        elif kind == "zeros":
            archive.writestr("zeros.bin", bytes(80 * 2**20))
        elif kind == "twice":
            with pytest.warns(UserWarning):
                archive.writestr("img_align_celeba/000001.jpg", b"again")
        else:
            archive.writestr(kind, b"harm")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("/tmp/absolute.jpg", "outside of the folder"),
        ("../outside.jpg", "outside of the folder"),
        ("a/../../outside.jpg", "outside of the folder"),
        ("..\\outside.jpg", "outside of the folder"),
        ("C:\\outside.jpg", "outside of the folder"),
        ("C:outside.jpg", "outside of the folder"),
        ("link", "link or special file"),
        ("zeros", "which no archive of CelebA does"),
        ("twice", "twice"),
    ],
)
def test_hostile_archives_change_nothing(tmp_path: Path, kind: str, sentence: str) -> None:
    hostile(tmp_path / "evil.zip", kind)
    with pytest.raises(CelebgenError, match=sentence):
        download(str(tmp_path / "evil.zip"), tmp_path / "out")
    assert list(tree(tmp_path)) == ["evil.zip"]


def test_damaged_member_unpacks_nothing(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[2000] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(bytes(data))
    with pytest.raises(CelebgenError, match="damaged .*CRC"):
        unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert list(tree(tmp_path)) == ["bad.zip"]


def test_unpacking_again_replaces_and_keeps_other_files(archive: Path, tmp_path: Path) -> None:
    assert unpack(archive, tmp_path) == 4
    once = tree(tmp_path)
    (tmp_path / "img_align_celeba" / "000001.jpg").write_text("broken")
    (tmp_path / "img_align_celeba" / "mine.jpg").write_text("mine")
    unpack(archive, tmp_path)
    assert tree(tmp_path) == once | {"img_align_celeba/mine.jpg": b"mine"}


def test_room_is_checked_first(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(CelebgenError, match="MiB are free"):
        download(str(archive), tmp_path / "out")
    assert tree(tmp_path) == {}
