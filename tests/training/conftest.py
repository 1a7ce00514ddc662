"""Nothing waits for a disk: a test of whole files that are renamed does not need them flushed."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.fsync` returns at once in this process."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
