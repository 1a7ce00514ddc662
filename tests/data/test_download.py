"""Getting archives: local files, a loopback server that misbehaves, and archives that are out to harm."""

import hashlib
import io
import shutil
import stat
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from celebgen_cli.data.download import Patience, download, unpack
from celebgen_cli.data.download.fetch import fetch, file_name
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
        (File(b""), r"answers with nothing \(0 bytes\)"),
        (File(b"", status=204), r"answers with nothing \(0 bytes\)"),
        (
            File(b"ff\r\nPK\x03\x04", {"Transfer-Encoding": "chunked"}),
            "/img.zip: the connection was cut, 3 times in a row; try again later",
        ),
        (File(status=302, headers={"Location": "/img.zip"}), "is redirected again and again, without an end; check it"),
        (File(status=302, headers={"Location": "ftp://127.0.0.1/a"}), "leads to 'ftp://127.0.0.1/a', which is no http"),
        (File(status=301, headers={"Location": "file:///etc/passwd"}), "leads to 'file:///etc/passwd', which is no"),
        (File(status=307, headers={"Location": "http://[::1/a"}), r"leads to 'http://\[::1/a', which is no http"),
        (File(b"PK\x03\x04 damaged"), "cut off or damaged"),
        (File(b"Rar! another format"), "neither a folder nor a zip"),
        (File(b"packed", {"Content-Encoding": "gzip"}), "packed as gzip"),
    ],
)
def test_bad_answers_leave_nothing(tmp_path: Path, server: Server, answer: File, sentence: str) -> None:
    server.files = {"/img.zip": answer}
    with pytest.raises(CelebgenError, match=sentence) as caught:
        download(f"{server.url}/img.zip", tmp_path / "out", patience=AT_ONCE)
    assert server.url in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_asked_for_once(tmp_path: Path, server: Server) -> None:
    server.files = {"/img.zip": File(b"")}
    with pytest.raises(CelebgenError, match="answers with nothing"):
        download(f"{server.url}/img.zip", tmp_path / "out", patience=AT_ONCE)
    assert len(server.requests) == 1


@pytest.mark.parametrize("address", ["/a b é.txt", "/a%20b%20%C3%A9.txt", "/a%20b é.txt"])
def test_letters_that_no_address_may_hold(tmp_path: Path, server: Server, address: str) -> None:
    server.files = {"/a%20b%20%C3%A9.txt": File(b"text"), "/from": File(status=302, headers={"Location": "/a b é.txt"})}
    server.files["/from"].headers["Location"] = "/a b é.txt".encode().decode("latin-1")
    for url in (server.url + address, f"{server.url}/from"):
        assert download(url, tmp_path / "out") == [tmp_path / "out" / "a b é.txt"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a" * 300 + ".txt", "a" * 196 + ".txt"),
        ("é" * 200 + ".zip", "é" * 98 + ".zip"),
        ("a." + "b" * 300, "a." + "b" * 198),
        ("a" * 195 + " . x" + ".txt", "a" * 195 + ".txt"),
    ],
)
def test_long_names_keep_their_ending(path: str, name: str) -> None:
    assert file_name(None, f"http://host/{path}") == name
    assert file_name(path, "http://host/") == name


def test_a_file_with_a_long_name(tmp_path: Path, server: Server) -> None:
    server.files = {"/x": File(b"text", {"Content-Disposition": f"attachment; filename={'a' * 300}.txt"})}
    (got,) = download(f"{server.url}/x", tmp_path)
    assert got.name.endswith("a.txt") and tree(tmp_path) == {got.name: b"text"}


def test_a_server_that_is_not_there(tmp_path: Path, server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(CelebgenError, match="cannot be reached"):
        download(f"http://127.0.0.1:{1 if port != 1 else 2}/img.zip", tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:port/a.zip", "http:///a.zip", "http://[::1/x", "https://[bad", "http://[x/a.zip",
        "http://a b/c.zip", "http://127.0.0.1:99999/a", f"https://{'é' * 70}.org/a",
    ],
)  # fmt: skip
def test_what_is_no_address(tmp_path: Path, address: str) -> None:
    for call in (lambda: download(address, tmp_path / "out", patience=AT_ONCE), lambda: fetch(address, tmp_path)):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == f"{address} is not an address that can be fetched; it must look like https://HOST/FILE"
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
        ("file://otherhost/etc/passwd", "file://otherhost/etc/passwd lies on another machine; only files of this one"),
        ("file://[x/etc/passwd", "lies on another machine"),
        ("kagle", "the source kagle does not exist; the nearest name is kaggle$"),
        ("Google-Drive", "Google-Drive does not exist; the nearest name is google-drive$"),
        ("kaggle:foo", "the nearest name is kaggle:OWNER/NAME, as kaggle:jessicali9530/celeba-dataset$"),
        ("hugingface:a/b", "the nearest name is huggingface:OWNER/NAME, as huggingface:flwrlabs/celeba$"),
        ("kaggle.zip", "the source kaggle.zip does not exist; get CelebA from Kaggle"),
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
        ("a/b\x1b[2J.jpg", r"a control character in its name \('a/b\\x1b\[2J.jpg'\)"),
        ("img_align_celeba/000001.jpg/b", "has 'img_align_celeba/000001.jpg' both as a file and as a folder"),
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


def test_a_member_that_holds_more_than_it_declares(tmp_path: Path) -> None:
    """zipfile itself stops at the declared size; should it not, nothing more is written."""
    module = sys.modules[unpack.__module__]
    info = zipfile.ZipInfo("a.bin")
    info.file_size = 5
    zipped = types.SimpleNamespace(open=lambda _: io.BytesIO(b"123456"))
    with pytest.raises(CelebgenError, match="x.zip holds more than it declares"):
        module._write(zipped, info, tmp_path / "a.bin", "x.zip", lambda size: None)
    assert (tmp_path / "a.bin").read_bytes() == b""


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_is_in_the_way_of_a_folder_is_named(archive: Path, tmp_path: Path, server: Server, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    there = out / "img_align_celeba"
    there.write_bytes(b"mine") if kind == "file" else there.symlink_to("nowhere")
    server.files = {"/img.zip": File(archive.read_bytes(), {"ETag": '"one"'})}
    for source in (str(archive), f"{server.url}/img.zip"):
        with pytest.raises(CelebgenError, match="out/img_align_celeba is there already and is no folder; delete it or"):
            download(source, out)
    there.unlink()
    server.requests.clear()
    assert download(f"{server.url}/img.zip", out) == [out]
    assert [range_ for _, range_ in server.requests] == [f"bytes={archive.stat().st_size - 1}-"]  # kept until now
    assert sorted(path.suffix for path in out.iterdir()) == ["", *[".txt"] * (len([*out.iterdir()]) - 1)]


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damage_is_the_archives_whatever_packed_it(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w", method) as packed:
        packed.writestr("img_align_celeba/000001.jpg", bytes(range(256)) * 40)
    data = bytearray((tmp_path / "bad.zip").read_bytes())
    data[75:140] = b"\xff" * 65
    (tmp_path / "bad.zip").write_bytes(bytes(data))
    with pytest.raises(CelebgenError, match="bad.zip is damaged"):
        unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert list(tree(tmp_path)) == ["bad.zip"]


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


@pytest.mark.parametrize("mine", [b"0123456789", b"mine", None])
def test_another_file_in_the_place_of_a_fetched_one(tmp_path: Path, server: Server, mine: bytes | None) -> None:
    """Nothing is left beside it, and what cannot be the same is refused before the transfer."""
    (tmp_path / "a.txt").mkdir() if mine is None else (tmp_path / "a.txt").write_bytes(mine)
    calls: list[int] = []
    for md5 in (None, hashlib.md5(b"abcdefghij").hexdigest()):
        server.files = {"/a.txt": File(b"abcdefghij", {"ETag": '"one"'})}
        with pytest.raises(CelebgenError, match=r"a.txt is there already and (is not what http|has not the MD5)"):
            download(f"{server.url}/a.txt", tmp_path, md5=md5, progress=lambda done, total: calls.append(done))
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        assert calls == ([10] if mine == b"0123456789" else [])
    assert tree(tmp_path) == ({} if mine is None else {"a.txt": mine})


def test_the_same_file_in_the_place_of_a_fetched_one(tmp_path: Path, server: Server) -> None:
    said: list[str] = []
    server.files = {"/x": File(b"text", {"Content-Disposition": "attachment; filename=b.txt"}), "/a.txt": File(b"text")}
    md5 = hashlib.md5(b"text").hexdigest()
    for path, name in (("/a.txt", "a.txt"), ("/x", "b.txt")):
        assert download(server.url + path, tmp_path, say=said.append) == [tmp_path / name]
        assert download(server.url + path, tmp_path, say=said.append) == [tmp_path / name] and said == []
        server.requests.clear()
        assert download(server.url + path, tmp_path, md5=md5.upper(), say=said.append) == [tmp_path / name]
        assert said.pop() == f"{tmp_path / name} is there already and has this MD5; nothing is fetched"
        assert len(server.requests) == (path == "/x")  # whose name the server tells
    assert tree(tmp_path) == {"a.txt": b"text", "b.txt": b"text"}


@pytest.mark.parametrize("name", ["img.zip", "data"])
@pytest.mark.parametrize("same", [True, False])
def test_an_archive_needs_no_place_of_its_own(
    archive: Path, tmp_path: Path, server: Server, name: str, same: bool
) -> None:
    """It is unpacked, whatever file has its name."""
    body = archive.read_bytes()
    server.files = {f"/{name}": File(body)}
    (tmp_path / name).write_bytes(body if same else b"mine")
    assert download(f"{server.url}/{name}", tmp_path, md5=hashlib.md5(body).hexdigest()) == [tmp_path]
    with zipfile.ZipFile(archive) as zipped:
        assert sorted(tree(tmp_path)) == sorted([*zipped.namelist(), name])


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
