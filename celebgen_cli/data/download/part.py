"""A file that is being fetched: `NAME.part`, and beside it in `NAME.part.json` what says which file it is a part of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from celebgen_cli.files import atomic_write_json


@dataclass(frozen=True)
class Identity:
    """What tells one file from another: its address, size in bytes, ETag and Last-Modified; None where unknown."""

    url: str
    size: int | None
    etag: str | None
    modified: str | None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: the strong ETag, else the date, else None."""
        if self.etag is not None and self.etag.startswith('"'):
            return self.etag
        return self.modified


@dataclass
class Part:
    """A part of a file in the folder `out`, or all of it once `whole` is set; `placed`: it lies under its name."""

    out: Path
    name: str
    identity: Identity
    whole: bool = field(default=False)
    placed: bool = field(default=False)

    @property
    def path(self) -> Path:
        """Where the bytes lie."""
        return self.out / f"{self.name}.part"

    @property
    def note(self) -> Path:
        """Where the identity lies."""
        return self.out / f"{self.name}.part.json"

    @property
    def received(self) -> int:
        """Bytes that are there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def resumable(self, md5: str | None) -> bool:
        """Whether a wrong continuation would be noticed, by the server (If-Range) or by the MD5."""
        return self.identity.validator is not None or md5 is not None

    def discard(self) -> None:
        """Remove the bytes, then what is known of them."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    @classmethod
    def begin(cls, out: Path, name: str, identity: Identity) -> Part:
        """A part without bytes. The identity is on disk before the first byte, so a kill never mixes two files."""
        part = cls(out, name, identity)
        part.discard()
        atomic_write_json(part.note, asdict(identity))
        return part

    @classmethod
    def left(cls, out: Path, url: str) -> Part | None:
        """What an earlier run fetched of `url`, if any."""
        for note in sorted(out.glob("*.part.json")):
            try:
                identity = Identity(**json.loads(note.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            if identity.url == url:
                return cls(out, note.name.removesuffix(".part.json"), identity)
        return None
