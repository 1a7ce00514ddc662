"""Kaggle, Hugging Face, Google Drive and `auto`, against small stand-ins for the libraries and a local server."""

import hashlib
import io
import os
import sys
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.download import Patience, download, huggingface, official
from celebgen_cli.data.download.folder import watched
from celebgen_cli.data.download.official import OfficialFile
from celebgen_cli.data.download.pages import confirmed_address, direct_address
from celebgen_cli.data.download.placing import images_complete, next_command
from celebgen_cli.errors import CelebgenError
from tests.data.loopback import File, Server, serve
from tests.faces import write_celeba

COUNT = 12
AT_ONCE = Patience(timeout=0.5, attempts=2, wait=lambda seconds: None)


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("celeba")
    write_celeba(folder, COUNT)
    return folder


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**12}))
    monkeypatch.setenv("no_proxy", "*")


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


# Kaggle: its cache holds the images in a folder within a folder of the same name


def kaggle(celeba: Path, monkeypatch: pytest.MonkeyPatch, fails: int = 0) -> list[str]:
    asked: list[str] = []

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        print("Downloading ...")  # stdout carries results only
        got = Path(os.environ["KAGGLEHUB_CACHE"], "datasets", handle, "versions", "2")
        for name, data in everything(celeba).items():
            target = got / name.replace("img_align_celeba/", "img_align_celeba/img_align_celeba/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            if len(asked) <= fails:
                raise RuntimeError("the line\nis cut")
        return str(got)

    stand_in(monkeypatch, "kagglehub", dataset_download=dataset_download)
    return asked


def test_kaggle(
    celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    asked = kaggle(celeba, monkeypatch, fails=1)
    with pytest.raises(CelebgenError, match=r"Kaggle does not give jessicali9530/celeba-dataset \(RuntimeError: the l"):
        download("kaggle", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".kaggle"]  # what kagglehub goes on with
    assert download("kaggle", tmp_path) == [tmp_path]
    assert everything(tmp_path) == everything(celeba) and not (tmp_path / ".kaggle").exists()
    assert "KAGGLEHUB_CACHE" not in os.environ
    said: list[str] = []
    download("kaggle:some/copy", tmp_path, say=said.append)
    assert len(asked) == 2 and "nothing is fetched" in said[0]
    (tmp_path / "img_align_celeba" / "000003.jpg").unlink()
    download("kaggle:some/copy", tmp_path)
    assert asked[2] == "some/copy" and everything(tmp_path) == everything(celeba)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("source", "module"),
    [("kaggle", "kagglehub"), ("huggingface", "huggingface_hub"), ("huggingface", "pyarrow.parquet")],
)
def test_a_package_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CelebgenError, match=rf'pip install "celebgen\[{source}\]"'):
        download(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# Hugging Face: the stand-in's Parquet files are lists of rows


class Mirror:
    """A hub with one dataset and a `pyarrow.parquet` that reads it."""

    def __init__(self, celeba: Path, monkeypatch: pytest.MonkeyPatch, *, without: str = "") -> None:
        self.fetched: list[str] = []
        self.dies_at: str | None = None
        signs = [line.split() for line in (celeba / "list_attr_celeba.txt").read_text().splitlines()[2:]]
        codes = [line.split()[1] for line in (celeba / "list_eval_partition.txt").read_text().splitlines()]
        people = [line.split()[1] for line in (celeba / "identity_CelebA.txt").read_text().splitlines()]
        self.shards: dict[str, list[dict[str, Any]]] = {}
        for i, (name, *values) in enumerate(signs):
            shard = f"all/{('train', 'valid', 'test')[int(codes[i])]}-0000{int(i >= 4)}-of-00002.parquet"
            image = {"bytes": (celeba / "img_align_celeba" / name).read_bytes(), "path": None}
            row = {"image": image, "celeb_id": int(people[i])}
            row |= {attribute: value == "1" for attribute, value in zip(ATTRIBUTES, values, strict=True)}
            self.shards.setdefault(shard, []).append({key: row[key] for key in row if key != without})
        mirror = self

        class HfApi:
            def dataset_info(self, name: str, files_metadata: bool) -> Any:
                files = [types.SimpleNamespace(rfilename=shard, size=1000) for shard in (*mirror.shards, "README.md")]
                return types.SimpleNamespace(sha="abc", siblings=files[::-1])

        class ParquetFile:
            def __init__(self, path: Path) -> None:
                self.rows = mirror.shards[Path(path).relative_to(Path(path).parents[1]).as_posix()]
                self.schema_arrow = types.SimpleNamespace(names=list(self.rows[0]))

            def iter_batches(self, batch_size: int, columns: list[str]) -> Iterator[Any]:
                for at in range(0, len(self.rows), 2):
                    rows = [{name: row[name] for name in columns} for row in self.rows[at : at + 2]]
                    yield types.SimpleNamespace(to_pylist=lambda rows=rows: rows)

        stand_in(monkeypatch, "huggingface_hub", HfApi=HfApi, hf_hub_download=self.hf_hub_download)
        stand_in(monkeypatch, "huggingface_hub.utils", disable_progress_bars=lambda: None)
        stand_in(monkeypatch, "pyarrow")
        stand_in(monkeypatch, "pyarrow.parquet", ParquetFile=ParquetFile)

    def hf_hub_download(self, mirror: str, name: str, *, repo_type: str, revision: str, local_dir: str) -> str:
        assert (mirror, repo_type, revision) == (huggingface.MIRROR, "dataset", "abc")
        if name == self.dies_at:
            raise OSError("503 later")
        self.fetched.append(name)
        path = Path(local_dir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PAR1")
        return str(path)


def test_huggingface(celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = Mirror(celeba, monkeypatch)
    said: list[str] = []
    mirror.dies_at = "all/train-00001-of-00002.parquet"
    with pytest.raises(CelebgenError, match="Hugging Face does not give flwrlabs/celeba .*503 later"):
        download("huggingface", tmp_path, say=said.append)
    assert [path.name for path in tmp_path.iterdir()] == [".huggingface"]
    mirror.dies_at = None
    assert download("huggingface", tmp_path, say=said.append) == [tmp_path]
    assert mirror.fetched == [  # train, valid, test; nothing twice
        "all/train-00000-of-00002.parquet", "all/train-00001-of-00002.parquet", "all/valid-00001-of-00002.parquet",
        "all/test-00001-of-00002.parquet",
    ]  # fmt: skip
    got, wanted = everything(tmp_path), everything(celeba)
    assert got.keys() == wanted.keys()
    for name in wanted:  # text files as their authors laid them out: CRLF, and a blank after the last attribute's name
        lines = [line.split() for line in got[name].splitlines()] if name.endswith(".txt") else got[name]
        assert lines == (
            [line.split() for line in wanted[name].splitlines()] if name.endswith(".txt") else wanted[name]
        )
    assert got["list_eval_partition.txt"].startswith(b"000001.jpg 0\r\n000002.jpg 0\r\n")
    assert got["list_attr_celeba.txt"].splitlines()[1].endswith(b" Young ")
    assert b" 1" in got["list_attr_celeba.txt"] and b".jpg  " not in got["list_attr_celeba.txt"]  # first: not padded
    assert "are not the official files" in said[-1]
    assert images_complete(tmp_path)
    download("huggingface", tmp_path)
    assert len(mirror.fetched) == 4


def test_huggingface_says_when_the_numbers_are_the_official_ones(
    celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Mirror(celeba, monkeypatch)
    download("huggingface", tmp_path / "first")
    files = [
        OfficialFile(name, hashlib.md5((tmp_path / "first" / name).read_bytes()).hexdigest(), "", 0)
        for name in ("list_attr_celeba.txt", "list_eval_partition.txt", "identity_CelebA.txt")
    ]
    monkeypatch.setattr(huggingface, "FILES", files)
    said: list[str] = []
    download("huggingface", tmp_path / "second", say=said.append)
    assert said[-1].endswith("list_attr_celeba.txt, list_eval_partition.txt are the official files byte for byte")


def test_a_mirror_made_otherwise(celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Mirror(celeba, monkeypatch, without="Smiling")
    with pytest.raises(CelebgenError, match="flwrlabs/celeba has no column Smiling"):
        download("huggingface", tmp_path)
    mirror = Mirror(celeba, monkeypatch)
    mirror.shards = {"data/all.parquet": []}
    with pytest.raises(CelebgenError, match=r"data/all.parquet, which says neither train, valid nor test"):
        download("huggingface", tmp_path / "b")
    mirror.shards = {}
    with pytest.raises(CelebgenError, match="has no Parquet files"):
        download("huggingface", tmp_path / "c")


def test_real_parquet_files(celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = {"bytes": (celeba / "img_align_celeba" / "000001.jpg").read_bytes(), "path": None}
    row = {"image": image, "celeb_id": 7} | dict.fromkeys(ATTRIBUTES, False) | {"Young": True}
    parquet.write_table(arrow.Table.from_pylist([row] * 3), tmp_path / "train.parquet")
    rows = [*huggingface._convert(parquet, tmp_path / "train.parquet", tmp_path / "images", 5, 0, "mirror")]
    assert rows == [f"{number} 0 7 {'-1 ' * 39}1" for number in (5, 6, 7)]
    assert everything(tmp_path / "images") == {f"00000{number}.jpg": image["bytes"] for number in (5, 6, 7)}
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(CelebgenError, match=r"bad.parquet cannot be turned into images"):
        [*huggingface._convert(parquet, tmp_path / "bad.parquet", tmp_path / "images", 5, 0, "mirror")]


# Google Drive: large files come behind a form, and the quota's page comes at any time


@pytest.fixture
def drive(celeba: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in everything(celeba).items():
            if name.startswith("img_align_celeba/"):
                archive.writestr(name, data)
    contents = {"list_eval_partition.txt": (celeba / "list_eval_partition.txt").read_bytes()}
    contents |= {"list_attr_celeba.txt": (celeba / "list_attr_celeba.txt").read_bytes()}
    contents |= {"img_align_celeba.zip": packed.getvalue()}
    with serve() as server:
        page = (
            f'<!DOCTYPE html><form id="download-form" action="{server.url}/confirmed" method="get">'
            '<input type="submit"><input type="hidden" name="id" value="zip"><input type="hidden" name="confirm" '
            'value="t"></form>'
        )
        files = []
        for name, data in contents.items():
            key = "zip" if name.endswith(".zip") else name
            files.append(OfficialFile(name, hashlib.md5(data).hexdigest(), key, len(data)))
            path = "/confirmed?id=zip&confirm=t" if key == "zip" else f"/download?id={key}&export=download"
            server.files[path] = File(data)
        server.files["/download?id=zip&export=download"] = File(page.encode())
        monkeypatch.setattr("celebgen_cli.data.download.pages.DRIVE", f"{server.url}/download")
        monkeypatch.setattr(official, "FILES", tuple(files))
        yield server


def test_google_drive(celeba: Path, tmp_path: Path, drive: Server) -> None:
    wanted = {name: data for name, data in everything(celeba).items() if not name.startswith("identity")}
    drive.files["/confirmed?id=zip&confirm=t"].cuts = [5000, 3000]
    with pytest.raises(CelebgenError, match="cut, 2 times in a row; the same command goes on"):
        download("google-drive", tmp_path, patience=AT_ONCE)
    assert download("google-drive", tmp_path, patience=AT_ONCE) == [tmp_path]
    assert everything(tmp_path) == wanted
    assert drive.requests[-1] == ("/confirmed?id=zip&confirm=t", "bytes=8000-")
    drive.requests.clear()
    download("google-drive", tmp_path, patience=AT_ONCE)
    assert drive.requests == []  # all is there
    (tmp_path / "img_align_celeba" / "000002.jpg").unlink()
    download("google-drive", tmp_path, patience=AT_ONCE)
    assert everything(tmp_path) == wanted


def test_google_drive_says_when_the_quota_is_used_up_and_checks_its_files(tmp_path: Path, drive: Server) -> None:
    drive.files["/download?id=zip&export=download"].body = b"<html><title>Google Drive - Quota exceeded</title></html>"
    with pytest.raises(CelebgenError, match="quota for today is used up; try again tomorrow"):
        download("google-drive", tmp_path, patience=AT_ONCE)
    drive.files["/download?id=list_eval_partition.txt&export=download"].body = b"000001.jpg 1\n"
    with pytest.raises(CelebgenError, match="has the MD5 .* and not"):
        download("google-drive", tmp_path / "wrong", patience=AT_ONCE)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://drive.google.com/file/d/1AbC/view?usp=sharing", "1AbC"),
        ("https://drive.google.com/open?id=1AbC", "1AbC"),
        ("https://docs.google.com/uc?export=download&id=1AbC", "1AbC"),
        ("https://drive.google.com/drive/folders/1AbC", None),
        ("https://example.org/file/d/1AbC/view", None),
    ],
)
def test_links_that_share_a_file(url: str, address: str | None) -> None:
    wanted = f"https://drive.usercontent.google.com/download?id={address}&export=download" if address else url
    assert direct_address(url) == wanted


def test_a_form_that_leads_elsewhere_is_not_followed() -> None:
    page = '<form id="download-form" action="https://evil.example/x"><input type="hidden" name="id" value="1"></form>'
    assert confirmed_address(page, "https://drive.usercontent.google.com/download") is None
    assert confirmed_address(page.replace("https://evil.example", ""), "http://a/b?c=1") == "http://a/x?id=1"
    assert confirmed_address(page.replace("download-form", "login"), "https://evil.example/y") is None
    assert confirmed_address(page.replace("evil.example", "[evil"), "http://a/b") is None


def test_growing_files_are_reported(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    (tmp_path / "a").write_bytes(bytes(300))
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "b").write_bytes(bytes(300))
    with watched(tmp_path, "versions", lambda done, total: calls.append((done, total)), 5, 400):
        end = time.monotonic() + 20
        while not calls and time.monotonic() < end:
            time.sleep(0.02)
    assert calls[0] == (305, 400)


# auto, and what comes next


def test_auto_tries_them_in_order(celeba: Path, tmp_path: Path, drive: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    kaggle(celeba, monkeypatch, fails=1)
    said: list[str] = []
    download("auto", tmp_path, say=said.append, patience=AT_ONCE)
    assert [line for line in said if line.startswith("trying")] == [
        "trying kaggle", "trying huggingface", "trying google-drive",
    ]  # fmt: skip
    assert "celebgen[huggingface]" in "".join(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt",
    ]  # fmt: skip
    drive.files.clear()
    kaggle(celeba, monkeypatch, fails=9)
    with pytest.raises(CelebgenError, match="no source gave CelebA, see above .*--source FILE"):
        download("auto", tmp_path / "none", say=said.append, patience=AT_ONCE)


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ("", "next: celebgen prepare 'my faces/img_align_celeba' -o 'my faces-dataset'"),
        ("list_attr_celeba.txt", "my faces has no list_attr_celeba yet: get it into the same folder, then run: "),
        ("img_align_celeba", "my faces has no images yet; get img_align_celeba.zip into it too"),
    ],
)
def test_the_next_command(
    celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str, sentence: str
) -> None:
    for name, data in everything(celeba).items():
        if not (without and name.startswith(without)):
            (tmp_path / "my faces" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "my faces" / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    assert next_command(Path("my faces")).startswith(sentence)


def test_the_next_command_for_a_folder_without_a_name(
    celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my faces" / "inner").mkdir(parents=True)
    for name, data in everything(celeba).items():
        (tmp_path / "my faces" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "my faces" / name).write_bytes(data)
    faces = tmp_path.resolve() / "my faces"
    for inside, out in (("my faces", "."), ("my faces", ""), ("my faces/inner", "..")):
        monkeypatch.chdir(tmp_path / inside)
        command = f"celebgen prepare '{faces}/img_align_celeba' -o '{faces}-dataset'"
        assert next_command(Path(out)) == f"next: {command}"


def test_the_terms_are_asked_for(celeba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.command import invoke, one_sentence

    source = celeba / "list_attr_celeba.txt"
    arguments = ("download", "--source", source, "-o", tmp_path / "out")
    refused = invoke(*arguments)
    assert refused.exit_code == 2 and refused.stdout == "" and "add --accept-terms" in refused.stderr
    assert "nowhere does not exist" in one_sentence(invoke("download", "--source", "nowhere", "-o", tmp_path / "x"), 2)

    terminal: Callable[[], bool] = lambda: True  # noqa: E731
    monkeypatch.setattr("celebgen_cli.cli.download.sys", types.SimpleNamespace(stdin=types.SimpleNamespace()))
    monkeypatch.setattr("celebgen_cli.cli.download.sys.stdin.isatty", terminal, raising=False)
    no = invoke(*arguments, stdin="n\n")
    assert no.exit_code == 1 and "were not accepted" in no.stderr
    assert list(tmp_path.iterdir()) == []
    yes = invoke(*arguments, stdin="y\n")
    assert (yes.exit_code, yes.stdout.splitlines()[-1]) == (0, str(tmp_path / "out" / source.name)), yes.output
    assert yes.stderr.count("non-commercial") == 1 and "has no images yet" in yes.stderr
