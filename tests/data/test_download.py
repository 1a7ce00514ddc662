"""Getting archives: local files, a loopback server that misbehaves, and archives that are out to harm."""

import hashlib
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from celebgen_cli.data.download import Patience, download, unpack
from celebgen_cli.data.download.folder import claimed
from celebgen_cli.errors import CelebgenError, UsageError
from tests.data.loopback import File, Server, serve
from tests.faces import write_celeba


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"), 4, as_zip=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as server:
        yield server


AT_ONCE = Patience(timeout=0.3, attempts=3, wait=lambda seconds: None)


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


def test_fetched_archive_is_unpacked_and_removed(archive: Path, tmp_path: Path, server: Server) -> None:
    body = archive.read_bytes()
    server.files = {
        "/a/img.zip": File(status=302, headers={"Location": "/b/celeba.zip?x=1"}),
        "/b/celeba.zip": File(body),
    }
    md5 = hashlib.md5(body).hexdigest()
    assert download(f"{server.url}/a/img.zip", tmp_path / "out", md5=md5.upper()) == [tmp_path / "out"]
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
    tmp_path: Path, server: Server, address: str, disposition: str | None, name: str
) -> None:
    headers = {"Content-Disposition": disposition} if disposition else {}
    server.files = {address: File(b"000001.jpg 0\n", headers)}
    assert download(server.url + address, tmp_path / "out") == [tmp_path / "out" / name]
    assert tree(tmp_path) == {f"out/{name}": b"000001.jpg 0\n"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (File(b"gone", status=404), "answers 404"),
        (File(b"later", status=503), "answers 503 Service Unavailable, 3 times in a row; try again later"),
        (File(b"\n<!DOCTYPE html><html>Please log in</html>"), "web page instead of a file .*a login"),
        (File(b"<html>Google Drive - Quota exceeded</html>"), "web page .*quota for today is used up"),
        (
            File(b"PK\x03\x04 cut", {"Content-Length": "5000"}),
            "sent 8 bytes and not 5000 bytes: the connection was cut",
        ),
        (File(b""), "sent 0 bytes"),
        (File(b"PK\x03\x04 damaged"), "cut off or damaged"),
        (File(b"Rar! another format"), "neither a folder nor a zip"),
        (File(b"packed", {"Content-Encoding": "gzip"}), "packed as gzip"),
    ],
)
def test_bad_answers_leave_nothing(tmp_path: Path, server: Server, answer: File, sentence: str) -> None:
    server.files = {"/img.zip": answer}
    with pytest.raises(CelebgenError, match=sentence) as caught:
        download(f"{server.url}/img.zip", tmp_path / "out", patience=AT_ONCE)
    assert server.url in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(tmp_path: Path, server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(CelebgenError, match="cannot be reached"):
        download(f"http://127.0.0.1:{1 if port != 1 else 2}/img.zip", tmp_path)


@pytest.mark.parametrize("address", ["http://127.0.0.1:port/a.zip", "http:///a.zip", "http://127.0.0.1/a b.zip"])
def test_what_is_no_address(tmp_path: Path, address: str) -> None:
    with pytest.raises(CelebgenError, match="not an address|cannot be reached"):
        download(address, tmp_path / "out", patience=AT_ONCE)
    assert list(tmp_path.iterdir()) == []


def test_another_md5_is_refused(archive: Path, tmp_path: Path, server: Server) -> None:
    server.files = {"/img.zip": File(archive.read_bytes())}
    for source in (str(archive), f"{server.url}/img.zip"):
        with pytest.raises(CelebgenError, match=f"MD5 .* not {'0' * 32}"):
            download(source, tmp_path / "out", md5="0" * 32)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("ftp://example.org/a.zip", "not an http"),
        ("nowhere.zip", "nowhere.zip does not exist"),
        (".", "is a folder"),
    ],
)
def test_sources_that_cannot_be(tmp_path: Path, source: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        download(source, tmp_path / "out")


def test_what_is_no_md5_and_no_folder(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kaggle checks its files by itself"):
        download("kaggle", tmp_path / "out", md5="0" * 32)
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
            archive.writestr("zeros.bin", bytes(8 * 2**20))
        elif kind == "10 GB":
            archive.writestr("zeros.bin", bytes(2**20))
            archive.infolist()[-1].file_size = 10 * 2**30
        elif kind == "liar":
            archive.writestr("zeros.bin", bytes(2**20))
            archive.infolist()[-1].file_size = 1000
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
        ("10 GB", "which no archive of CelebA does"),
        ("liar", "damaged|more than it declares"),
        ("twice", "twice"),
    ],
)
def test_hostile_archives_change_nothing(
    tmp_path: Path, kind: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[unpack.__module__], "SLACK", 2**20)
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


def test_unpacking_again_keeps_what_is_there(archive: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert unpack(archive, tmp_path, say=said.append) == 4
    once = tree(tmp_path)
    (tmp_path / "img_align_celeba" / "000002.jpg").unlink()
    unpack(archive, tmp_path, say=said.append)
    assert (tree(tmp_path), said) == (once, [])
    changed = {"img_align_celeba/000001.jpg": b"other", "img_align_celeba/mine.jpg": b"mine"}
    for name, data in changed.items():
        (tmp_path / name).write_bytes(data)
    unpack(archive, tmp_path, say=said.append)
    assert tree(tmp_path) == once | changed
    assert len(said) == 1 and "1 of 4 files were there already with other content" in said[0]


def test_another_file_of_the_same_name_is_kept(archive: Path, tmp_path: Path) -> None:
    source = archive.parent / "list_attr_celeba.txt"
    (tmp_path / source.name).write_text("mine")
    with pytest.raises(CelebgenError, match="is there already and is not what"):
        download(str(source), tmp_path)
    assert tree(tmp_path) == {source.name: b"mine"}


def test_two_downloads_into_one_folder(archive: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "out"), pytest.raises(CelebgenError, match="another download fills .*out right now"):
        download(str(archive), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_another_digest_of_an_official_name_is_a_note(archive: Path, tmp_path: Path) -> None:
    said: list[str] = []
    download(str(archive.parent / "list_attr_celeba.txt"), tmp_path, say=said.append)
    assert len(said) == 1 and "the official file 75e246fa4810816ffd6ee81facbd244c" in said[0]


def test_room_is_checked_first(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(CelebgenError, match="MiB are free"):
        download(str(archive), tmp_path / "out")
    assert tree(tmp_path) == {}
