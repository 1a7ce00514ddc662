"""Downloads that are cut, stall, are asked to wait, or find another file the second time."""

import errno
import hashlib
import json
import os
import ssl
from collections.abc import Iterator
from email.utils import formatdate
from http.client import HTTPResponse
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celebgen_cli.data.download import Patience, download
from celebgen_cli.errors import CelebgenError
from tests.data.loopback import File, Server, serve

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()
TAG = {"ETag": '"one"'}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as server:
        yield server


def fetch(server: Server, out: Path, *, attempts: int = 4, md5: str | None = None) -> tuple[list[str], list[float]]:
    """Fetch `/a.bin`; returns what was said and the waits."""
    said: list[str] = []
    waits: list[float] = []
    patience = Patience(timeout=0.3, attempts=attempts, wait=waits.append)
    download(f"{server.url}/a.bin", out, md5=md5, say=said.append, patience=patience)
    return said, waits


def only(folder: Path) -> bytes:
    """The content of `a.bin`, once it is sure that nothing else is there."""
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    return (folder / "a.bin").read_bytes()


@pytest.mark.parametrize("validator", [TAG, {"Last-Modified": "Wed, 01 Jul 2015 10:00:00 GMT"}])
def test_goes_on_where_it_was_cut_or_stalled(tmp_path: Path, server: Server, validator: dict[str, str]) -> None:
    server.files = {"/a.bin": File(BODY, validator, cuts=[70_000, 50_000], stalls=[])}
    said, waits = fetch(server, tmp_path)
    assert only(tmp_path) == BODY
    assert [range_ for _, range_ in server.requests] == [None, "bytes=70000-", "bytes=120000-"]
    assert waits == [1.0, 2.0] and "the connection was cut; trying again in 1 s" in said[0]

    server.files["/a.bin"].stalls = [90_000]
    server.requests.clear()
    said, _ = fetch(server, tmp_path / "stall")
    assert only(tmp_path / "stall") == BODY
    assert [range_ for _, range_ in server.requests] == [None, "bytes=90000-"]
    assert "no answer for 0.3 s" in said[0]


def test_a_part_is_kept_and_taken_up_by_the_next_run(tmp_path: Path, server: Server) -> None:
    server.files = {"/a.bin": File(BODY, TAG, cuts=[100_000, 20_000])}
    with pytest.raises(CelebgenError, match="2 times in a row; the same command goes on from where it stopped"):
        fetch(server, tmp_path, attempts=2)
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:120_000]
    known = json.loads((tmp_path / "a.bin.part.json").read_text())
    assert known == {"url": f"{server.url}/a.bin", "size": 300_000, "etag": '"one"', "modified": None}
    server.requests.clear()
    fetch(server, tmp_path)
    assert only(tmp_path) == BODY
    assert server.requests == [("/a.bin", "bytes=120000-")]


def cut(server: Server, out: Path, headers: dict[str, str], md5: str | None = None) -> None:
    """Leave a part of 100,000 bytes."""
    server.files = {"/a.bin": File(BODY, headers, cuts=[100_000])}
    with pytest.raises(CelebgenError):
        fetch(server, out, attempts=1, md5=md5)
    server.requests.clear()


@pytest.mark.parametrize(
    "now",
    [
        File(OTHER, {"ETag": '"two"'}),  # If-Range makes the server send all of it
        File(OTHER[:50_000], TAG),  # 416: the file is shorter, though its ETag is the same
        File(OTHER + OTHER, TAG),  # another size under the same ETag
        File(OTHER, TAG, ranges=False),  # Range is ignored
        File(OTHER, TAG, first=[(206, {"Content-Range": "bytes 5-299999/300000"}, OTHER[5:])]),  # not what was asked
        File(OTHER, TAG, first=[(206, {}, OTHER[100_000:])]),
        File(OTHER, TAG, first=[(206, {"Content-Range": "bytes 100000-299999/300000", "ETag": '"x"'}, b"")]),
    ],
)
def test_a_file_that_changed_between_two_parts_is_fetched_anew(tmp_path: Path, server: Server, now: File) -> None:
    cut(server, tmp_path, TAG)
    server.files = {"/a.bin": now}
    fetch(server, tmp_path)
    assert only(tmp_path) == now.body


def test_without_a_validator_nothing_is_gone_on_with_unless_an_md5_tells(tmp_path: Path, server: Server) -> None:
    cut(server, tmp_path / "plain", {})
    assert not (tmp_path / "plain").exists()
    cut(server, tmp_path / "weak", {"ETag": 'W/"weak"'})
    assert not (tmp_path / "weak").exists()
    cut(server, tmp_path / "md5", {}, md5=MD5)
    fetch(server, tmp_path / "md5", md5=MD5)
    assert server.requests == [("/a.bin", "bytes=100000-")]
    assert only(tmp_path / "md5") == BODY


def test_a_part_of_another_file_is_noticed_by_the_md5(tmp_path: Path, server: Server) -> None:
    cut(server, tmp_path, {}, md5=MD5)
    server.files = {"/a.bin": File(OTHER)}
    said, _ = fetch(server, tmp_path, md5=hashlib.md5(OTHER).hexdigest())
    assert only(tmp_path) == OTHER
    assert "belongs to another file; it is fetched from its start" in said[-1]
    with pytest.raises(CelebgenError, match=f"MD5 {hashlib.md5(OTHER).hexdigest()} and not {MD5}"):
        fetch(server, tmp_path / "wrong", md5=MD5)
    assert not (tmp_path / "wrong").exists()


def test_another_md5_ends_a_download_that_is_always_cut(tmp_path: Path, server: Server) -> None:
    """What was gone on with may be the fault once; after a second fetch it is the file."""
    server.files = {"/a.bin": File(BODY, TAG, cuts=[200_000, 300_000] * 30)}  # all of it is cut, the rest comes whole
    with pytest.raises(CelebgenError, match=f"has the MD5 {MD5} and not {'0' * 32}"):
        fetch(server, tmp_path / "out", attempts=100, md5="0" * 32)
    assert [range_ for _, range_ in server.requests] == [None, "bytes=200000-"] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        *(OSError(code, os.strerror(code)) for code in (errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH)),
        OSError(errno.EHOSTDOWN, "Host is down"),
        OSError(errno.ETIMEDOUT, "Connection timed out"),
        ssl.SSLError(1, "[SSL] record layer failure"),
    ],
)
@pytest.mark.parametrize("where", ["read1", "begin"])
def test_the_network_is_not_the_folder(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, fault: OSError, where: str
) -> None:
    server.files = {"/a.bin": File(BODY, TAG, cuts=[100_000, 100_000])}
    plain, calls = getattr(HTTPResponse, where), 0

    def fails(answer: HTTPResponse, *args: int) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise fault
        return plain(answer, *args)

    monkeypatch.setattr(HTTPResponse, where, fails)
    said, _ = fetch(server, tmp_path)
    assert only(tmp_path) == BODY
    told = "no answer for 0.3 s" if isinstance(fault, TimeoutError) else f"the connection was cut ({fault.strerror})"
    assert any(told in sentence for sentence in said), said


def test_a_page_that_is_cut_is_asked_for_again(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, faults = HTTPResponse.read, [OSError(errno.EHOSTUNREACH, "No route to host")]

    def fails(answer: HTTPResponse, amount: int | None = None) -> bytes:
        if faults:
            raise faults.pop()
        return plain(answer, amount)

    server.files = {"/a.bin": File(b"<html>Please log in</html>")}
    monkeypatch.setattr(HTTPResponse, "read", fails)
    with pytest.raises(CelebgenError, match="web page instead of a file"):
        fetch(server, tmp_path)
    assert len(server.requests) == 2


@pytest.mark.parametrize("more", [b"", b"of another file"])
def test_a_whole_part_costs_one_byte(tmp_path: Path, server: Server, more: bytes) -> None:
    cut(server, tmp_path, TAG)
    (tmp_path / "a.bin.part").write_bytes(BODY + more)
    fetch(server, tmp_path)
    assert server.requests == [("/a.bin", "bytes=299999-")] and only(tmp_path) == BODY


def test_answers_that_pass_are_waited_out(tmp_path: Path, server: Server) -> None:
    date = formatdate(4e9, usegmt=True)
    server.files = {"/a.bin": File(BODY, first=[(503, {"Retry-After": "7"}, b""), (429, {}, b""), (500, {}, b"")])}
    said, waits = fetch(server, tmp_path)
    assert waits == [7.0, 2.0, 4.0] and only(tmp_path) == BODY
    assert said[0].endswith("answers 503 Service Unavailable; trying again in 7 s")
    for after in ("100000", date):
        server.files = {"/a.bin": File(BODY, first=[(503, {"Retry-After": after}, b"")])}
        with pytest.raises(CelebgenError, match=r"the server asks to wait \d{6,} s; try again later"):
            fetch(server, tmp_path / "later")
    server.files = {"/a.bin": File(BODY, first=[(503, {"Retry-After": "soon"}, b"")])}
    assert fetch(server, tmp_path / "odd")[1] == [1.0]
    assert not (tmp_path / "later").exists()


def test_room_for_the_rest_is_checked_first(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(server, tmp_path, TAG)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 199_999}))
    with pytest.raises(CelebgenError, match="MiB are free; make room"):
        fetch(server, tmp_path)
    assert (tmp_path / "a.bin.part").stat().st_size == 100_000  # what is there is not lost
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 200_000}))
    fetch(server, tmp_path)
    assert only(tmp_path) == BODY


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 120_000), max_size=3),
    ranges=st.booleans(),
    headers=st.sampled_from([TAG, {}, {"ETag": 'W/"weak"'}, {"Last-Modified": "Wed, 01 Jul 2015 10:00:00 GMT"}]),
)
def test_any_cuts_give_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, server: Server, cuts: list[int], ranges: bool, headers: dict[str, str]
) -> None:
    out = tmp_path_factory.mktemp("cuts")
    server.files = {"/a.bin": File(BODY, headers, cuts=list(cuts), ranges=ranges)}
    fetch(server, out)
    assert only(out) == BODY
