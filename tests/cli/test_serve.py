"""`celebgen serve`: a request a line in, an answer a line out, whatever comes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from celebgen_cli.images import read_metadata
from tests.command import invoke, one_sentence


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answers(model: Path, *requests: Any, words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in requests]
    out = invoke("serve", "--quiet", "--model", model, *words, stdin=b"\n".join(lines))
    assert (out.exit_code, out.stderr) == (0, "")
    return [json.loads(line) for line in out.stdout.splitlines()]


def test_faces_are_those_of_sample(here: Path, model_folder: Path) -> None:
    first, second, third = answers(
        model_folder,
        {"prompt": "old man", "seed": 7, "output": "old.webp", "id": "x", "steps": 2},
        {"prompt": "old zebra"},
        {"prompt": "woman", "seed": 3},
    )
    assert (first["path"], first["id"], first["steps"], first["existed"]) == ("old.webp", "x", 2, False)
    assert (second["path"], second["unknown"]) == (str(Path("outputs", "0001_0_old-zebra.png")), ["zebra"])
    assert third["path"] == str(Path("outputs", "0002_3_woman.png"))
    invoke("sample", "old man", "--seed", 7, "--steps", 2, "-o", "same.webp", "--model", model_folder)
    assert Path("same.webp").read_bytes() == Path("old.webp").read_bytes()
    assert read_metadata(Path("old.webp")).items() <= first.items()
    assert np.asarray(Image.open("old.webp")).shape == (32, 32, 3)


def test_errors_are_answers(here: Path, model_folder: Path) -> None:
    Path("there.png").write_text("notes")
    requests: list[tuple[Any, str]] = [
        (b"{", "no JSON at character "),
        (b"\xff", "no UTF-8 text at byte 0"),
        ("man", "no JSON object"),
        ({}, 'there is no "prompt"'),
        ({"prompt": "man", "num": 2}, "a request asks for one face"),
        ({"prompt": "man", "steps": 0}, "--steps must be from 1 to 1000, not 0"),
        ({"prompt": "man", "output": "there.png"}, "there.png exists and is another picture"),
        ({"prompt": "man", "output": "folder"}, '"output" must be a file'),
        ({"prompt": "man", "output": 5}, "-o must be the path"),
        ({"prompt": "man", "output": "there.png/a.png"}, "there.png"),
        ({"prompt": "man", "stepz": 1, "id": 4}, "there is no setting 'stepz'"),
        (b"[" * 100_000, "no JSON that can be read"),
        (b'{"prompt": "", "id": NaN}', "'NaN' is no number that JSON has"),
        (b'{"prompt": "man", "id": [1e999]}', "'1e999' is no number that JSON has"),
        (b"x" * 3_000_000, "a request is longer than 1048576 bytes"),
    ]
    found = answers(model_folder, *(request for request, _ in requests), {"prompt": "man", "output": "good.png"})
    for answer, (_, sentence) in zip(found, requests, strict=False):
        assert sentence in answer["error"]
        assert "path" not in answer
    assert found[10]["id"] == 4
    assert len(found) == len(requests) + 1
    assert found[-1]["path"] == "good.png"
    assert Path("there.png").read_text() == "notes"
    (forced,) = answers(model_folder, {"prompt": "man", "output": "there.png", "force": True})
    assert read_metadata(Path(forced["path"]))["prompt"] == "man"


def test_a_gpu_without_room_is_an_answer(
    here: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **named: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    monkeypatch.setattr("celebgen_cli.sampling.batches.draw", full)
    first, second = answers(model_folder, {"prompt": "man", "id": 1}, {"prompt": "man", "id": 2})
    assert first == {"id": 1, "error": "CUDA out of memory. Tried to allocate 2.00 GiB; nothing was drawn"}
    assert second["id"] == 2


def test_the_place_must_take_many(here: Path, model_folder: Path) -> None:
    assert "must be a folder or a pattern" in one_sentence(invoke("serve", "-o", "a.png", "--model", model_folder), 2)


def test_the_end_of_stdin_ends_it(here: Path, model_folder: Path) -> None:
    out = invoke("serve", "--model", model_folder, stdin=b"")
    assert (out.exit_code, out.stdout) == (0, "")
    assert out.stderr == "ready: tiny-random, 32 px; one JSON request a line\n"


def test_a_request_that_failed_takes_no_name(here: Path, model_folder: Path) -> None:
    words = ("-o", "{seed}.png")
    first, other, again = answers(
        model_folder, {"prompt": "man"}, {"prompt": "man", "steps": 2}, {"prompt": "man"}, words=words
    )
    assert "0.png exists and is another picture" in other["error"]
    assert (first["path"], again["path"], again["existed"]) == ("0.png", "0.png", True)


def test_a_request_may_overwrite(here: Path, model_folder: Path) -> None:
    Path("0.png").write_text("notes")
    refused, drawn, kept = answers(
        model_folder, {"prompt": "man"}, {"prompt": "man", "force": True}, {"prompt": "woman"},
        words=("-o", "{seed}.png"),
    )  # fmt: skip
    assert "add --force" in refused["error"] and "add --force" in kept["error"]
    assert (drawn["path"], read_metadata(Path("0.png"))["prompt"]) == ("0.png", "man")
