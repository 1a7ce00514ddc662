"""Models by name: folders, the user's model folder, the one in the box, and a hub on this very machine."""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants as hub_constants
import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import sha256_file
from celebgen_cli.models import registry
from celebgen_cli.models.registry import entries, find, home

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"


class Hub:
    """One repository, `someone/faces`, served as huggingface.co does; `asked` keeps what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.cut = folder, set[str](), set[str]()
        self.revisions = {"main": COMMIT, "v2": OTHER, COMMIT: COMMIT, OTHER: OTHER}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                owner, name, verb, revision, file = [*self.path.strip("/").split("/", 4), *[""] * 5][:5]
                if (owner, name, verb) != ("someone", "faces", "resolve"):
                    return self.refuse("RepoNotFound")
                if revision not in hub.revisions:
                    return self.refuse("RevisionNotFound")
                hub.asked.add(file)
                path = hub.folder / file
                if not path.is_file():
                    return self.refuse("EntryNotFound")
                data = path.read_bytes()
                start = int((self.headers["Range"] or "bytes=0-")[6:].split("-")[0])
                self.send_response(206 if start else 200)
                self.send_header("ETag", f'"{sha256_file(path)}"')
                self.send_header("X-Repo-Commit", hub.revisions[revision])
                self.send_header("Content-Length", str(len(data) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                if body:
                    self.wfile.write(data[start : len(data) // 2] if file in hub.cut else data[start:])
                if file in hub.cut:
                    self.close_connection = True

            def refuse(self, code: str) -> None:
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model folder of the user's, and an empty working directory."""
    monkeypatch.setenv("CELEBGEN_MODELS", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def hub(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a whole model, its card, and files that nobody should fetch."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "repository"))
    (folder / "README.md").write_text("# A card", encoding="utf-8")
    for name in ("pytorch_model.bin", "weights.pkl", "other.safetensors"):
        (folder / name).write_bytes(b"\x80\x04boom")
    made = Hub(folder)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_constants, "ENDPOINT", made.address)
    monkeypatch.setattr(
        hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield made
    made.server.shutdown()
    made.server.server_close()


def edit(folder: Path, **changes: object) -> None:
    info = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**info, **changes}), encoding="utf-8")


def test_where_the_users_models_are(tmp_path: Path) -> None:
    assert home({"CELEBGEN_MODELS": str(tmp_path)}) == tmp_path
    assert home({"XDG_DATA_HOME": str(tmp_path)}, "linux") == tmp_path / "celebgen" / "models"
    assert home({"XDG_DATA_HOME": "relative"}, "linux") == Path.home() / ".local/share/celebgen/models"
    assert home({}, "darwin") == Path.home() / "Library/Application Support/celebgen/models"
    assert home({"LOCALAPPDATA": str(tmp_path)}, "win32") == tmp_path / "celebgen" / "models"


def test_a_name_in_the_model_folder(models: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, models / "faces")
    assert find("faces") == find(Path("faces")) == models / "faces"


def test_a_folder_that_exists_wins(models: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, models / "faces")
    Path("faces").mkdir()
    assert find("faces") == Path("faces")
    assert find("./nowhere/faces") == Path("nowhere/faces")  # its reader says what is wrong there


def test_the_model_in_the_box_has_a_name(models: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BOX", model_folder)
    assert find("tiny-random") == model_folder
    shutil.copytree(model_folder, models / "tiny-random")  # the user's own comes first
    assert find("tiny-random") == models / "tiny-random"


def test_an_unknown_name_says_which_exist(
    models: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BOX", tmp_path / "no-box")
    with pytest.raises(CelebgenError, match=r"^there is no model folder nobody.* exist: none yet$"):
        find("nobody")
    for name in ("b", "a", ".a.temporary"):
        shutil.copytree(model_folder, models / name)
    (models / "empty").mkdir()
    with pytest.raises(CelebgenError, match=r"exist: a, b$"):
        find("nobody")
    for hidden in (".a.temporary", "empty"):
        with pytest.raises(CelebgenError, match=r"no model folder"):
            find(hidden)
    assert find("nobody", strict=False) == Path("nobody")


def test_what_is_listed(models: Path, model_folder: Path, tmp_path: Path) -> None:
    good = Path(shutil.copytree(model_folder, models / "good"))
    edit(good, measured={"FID": {"value": 12.5}})
    broken = Path(shutil.copytree(model_folder, models / "broken"))
    (broken / "unet.safetensors").unlink()
    (models / "zero").mkdir()
    (models / "zero" / "model.json").write_text("{", encoding="utf-8")
    box, first, second, third = entries(box=model_folder)
    assert (box.name, box.box, box.fid) == ("tiny-random", True, None)
    assert (second.name, second.image_size, second.crop, second.fid) == ("good", 32, "face178", 12.5)
    assert second.bytes == sum(path.stat().st_size for path in good.iterdir())
    assert second.problem is None
    assert "unet.safetensors is missing" in str(first.problem)
    assert "cannot be read as JSON" in str(third.problem)
    assert entries(box=tmp_path / "none", models=tmp_path / "none") == []


@pytest.mark.parametrize("measured", [None, [], {"FID": 3}, {"FID": {"value": True}}, {"FID": {"value": float("nan")}}])
def test_figures_that_are_none(models: Path, model_folder: Path, measured: object) -> None:
    edit(Path(shutil.copytree(model_folder, models / "odd")), measured=measured)
    assert [entry.fid for entry in entries(box=models)] == [None]


@pytest.mark.parametrize("word", ["hf://someone/faces", Path("hf://someone/faces"), "hf://someone/faces@v2"])
def test_a_repository_is_fetched(hub: Hub, word: str | Path) -> None:
    folder = find(word)
    assert folder.name == (OTHER if "@" in str(word) else COMMIT)
    wanted = {"model.json", "README.md", "text_encoder.safetensors", "cvae.safetensors", "unet.safetensors"}
    assert {path.name for path in folder.iterdir()} == wanted
    assert hub.asked == wanted  # no pickle, and no file that model.json does not name
    for name in wanted:
        assert (folder / name).read_bytes() == (hub.folder / name).read_bytes()


def test_the_cache_is_enough(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = find("hf://someone/faces")
    hub.asked.clear()
    assert find("hf://someone/faces") == folder
    assert hub.asked == {"model.json"}  # whether there is a newer commit
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert find("hf://someone/faces") == folder


def test_a_repository_without_a_card(hub: Hub) -> None:
    (hub.folder / "README.md").unlink()
    assert not (find("hf://someone/faces") / "README.md").exists()


def test_a_damaged_file_of_the_cache_is_fetched_again(hub: Hub) -> None:
    folder = find("hf://someone/faces")
    damaged = (folder / "unet.safetensors").resolve()
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert sha256_file(find("hf://someone/faces") / "unet.safetensors") == sha256_file(hub.folder / "unet.safetensors")


def test_a_file_that_is_not_what_model_json_says(hub: Hub) -> None:
    data = (hub.folder / "unet.safetensors").read_bytes()
    (hub.folder / "unet.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CelebgenError, match=r"hf://someone/faces has another unet\.safetensors than"):
        find("hf://someone/faces")


def test_a_connection_that_breaks(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.cut.add("unet.safetensors")
    with pytest.raises(CelebgenError, match=r"does not give unet\.safetensors of hf://someone/faces"):
        find("hf://someone/faces")
    hub.cut.clear()
    assert sha256_file(find("hf://someone/faces") / "unet.safetensors") == sha256_file(hub.folder / "unet.safetensors")


@pytest.mark.parametrize(
    "name", ["weights.pkl", "../other.safetensors", "a/b.safetensors", ".safetensors", "x.safetensors\n"]
)
def test_names_that_are_no_safetensors(hub: Hub, name: str) -> None:
    edit(hub.folder, sha256={name: "0" * 64})
    with pytest.raises(CelebgenError, match=r"which is no safetensors file"):
        find("hf://someone/faces")
    assert hub.asked == {"model.json"}


@pytest.mark.parametrize("changes", [{"sha256": None}, {"sha256": {}}, {"format": "another"}])
def test_a_repository_that_is_no_model(hub: Hub, changes: dict[str, object]) -> None:
    edit(hub.folder, **changes)
    with pytest.raises(CelebgenError, match=r"hf://someone/faces is no celebgen model"):
        find("hf://someone/faces")
    assert hub.asked == {"model.json"}


@pytest.mark.parametrize("address", ["hf://someone/else", "hf://someone/faces@v3"])
def test_what_the_hub_does_not_have(hub: Hub, address: str) -> None:
    with pytest.raises(CelebgenError, match=rf"does not give model\.json of {address} \(.*; check the name") as caught:
        find(address)
    assert "\n" not in str(caught.value)


def test_out_of_reach(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CelebgenError, match=r"out of reach, and the cache does not have it\); check the name"):
        find("hf://someone/faces")
    assert hub.asked == set()


@pytest.mark.parametrize(
    "word",
    ["hf:", "hf://", "hf://faces", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://a/..", "hf:///a/b", "hf://a/b c"],
)
def test_words_that_are_no_address(word: str) -> None:
    with pytest.raises(UsageError, match=r"write hf://OWNER/NAME"):
        find(word)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CelebgenError, match=r'pip install "celebgen\[huggingface\]"'):
        find("hf://someone/faces")
