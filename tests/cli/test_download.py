"""`celebgen download` in a terminal: the question about the terms, and the two ways to leave it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import COMMAND, ENVIRONMENT, _listen


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(
    ("key", "code", "sentence"),
    [
        ("Ctrl-C", 130, "interrupted"),
        ("Ctrl-D", 1, "error: the terms were not accepted, so nothing was fetched"),
    ],
)
def test_the_question_is_left(tmp_path: Path, key: str, code: int, sentence: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    keyboard, terminal = os.openpty()
    try:
        with subprocess.Popen(
            [COMMAND, "download", "--source", "a.txt", "-o", "out"], cwd=tmp_path, env=os.environ | ENVIRONMENT,
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_listen,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            said = b""
            while b"[y/N]" not in said and (letter := process.stderr.read(1)):
                said += letter
            if key == "Ctrl-C":
                process.send_signal(signal.SIGINT)
            else:
                os.write(keyboard, b"\x04")
            rest = process.communicate(timeout=60)[1].decode()
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert (process.returncode, rest.splitlines()[-1]) == (code, sentence)
    assert "Abort" not in rest and [path.name for path in tmp_path.iterdir()] == ["a.txt"]
