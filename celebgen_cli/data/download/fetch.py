"""One address to one whole file: goes on where it was cut, tries again where that helps, trusts nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse, IncompleteRead, InvalidURL
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from celebgen_cli.data.download.folder import check_room, is_another
from celebgen_cli.data.download.official import WHERE, Progress, Say, md5_of, other_md5
from celebgen_cli.data.download.pages import (
    MAX_PAGE,
    check_address,
    confirmed_address,
    direct_address,
    no_address,
    sendable,
    what_page_says,
)
from celebgen_cli.data.download.part import Identity, Part
from celebgen_cli.data.download.unpack import looks_like_archive
from celebgen_cli.data.sources import looks_like_html
from celebgen_cli.errors import CelebgenError, UsageError

BLOCK = 2**20
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that a server gives for a while only."""

MAX_HOPS = 3  # forms that lead to forms
MAX_NAME = 200  # bytes; file systems hold 255, and `.NAME.part.json.XXXXXXXX.tmp` lies beside it for a moment


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for."""

    timeout: float = 60.0  # seconds without a byte
    attempts: int = 6  # in a row that bring less than a block each
    longest: float = 60.0  # seconds between two attempts
    longest_asked: float = 600.0  # seconds that a server may ask for with Retry-After
    wait: Callable[[float], None] = field(default=time.sleep)


def fetch(
    url: str,
    out: Path,
    *,
    md5: str | None = None,
    name: str | None = None,
    progress: Progress | None = None,
    say: Say = lambda sentence: None,
    patience: Patience | None = None,
) -> Part:
    """Fetch a file into `out` under its name with `.part`, from where an earlier attempt ended if that can be trusted.

    What is there already is taken up if the server says by ETag or Last-Modified (If-Range) that its file is the same
    one, or if `md5` will tell; else the file is fetched from its start. A file that is in its place already and has
    the `md5` is not fetched again.

    Args:
        url: http or https.
        out: an existing folder.
        md5: what the file must have, in hexadecimal.
        name: the file's name; what the server or the address says if None.
        progress: called with the bytes there and the bytes in all.
        say: told of every wait.
        patience: how long to wait for the server.

    Returns:
        The whole file, for the caller to move or to discard, or one that is `placed` already.

    Raises:
        UsageError: no address that can be fetched.
        CelebgenError: unreachable, a web page, nothing, cut off too often, another MD5, another file in its place, no
            room. A part that can be gone on with stays, any other is removed.
    """
    return _Fetch(url, out, md5, name, progress, say, patience or Patience()).run()


class _Later(Exception):
    """Worth another attempt: the message says what happened, `after` how many seconds the server asks to wait."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


class _Fetch:
    def __init__(
        self,
        url: str,
        out: Path,
        md5: str | None,
        name: str | None,
        progress: Progress | None,
        say: Say,
        patience: Patience,
    ) -> None:
        self.url, self.out, self.md5, self.name = url, out, md5, name
        self.progress, self.say, self.patience = progress, say, patience
        self.part = Part.left(out, url)
        self.resumed = False
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()), _Redirects)

    def run(self) -> Part:
        check_address(self.url)
        failures, restarted = 0, False
        try:
            if (placed := self._placed(self.name or file_name(None, self.url))) is not None:
                return placed
            while True:
                before = self.part.received if self.part is not None else 0
                try:
                    part = self._attempt(direct_address(self.url))
                except _Later as problem:
                    gained = (self.part.received if self.part is not None else 0) - before
                    failures = 1 if gained >= BLOCK else failures + 1
                    self._pause(problem, failures)
                    continue
                if part.placed or self.md5 is None or (digest := md5_of(part.path)) == self.md5.lower():
                    return part
                part.discard()
                self.part = None
                if not self.resumed or restarted:  # or the old bytes may be the wrong ones
                    raise CelebgenError(other_md5(self.url, digest, self.md5))
                restarted = True
                self.say(f"what was fetched of {self.url} before belongs to another file; it is fetched from its start")
        finally:
            if self.part is not None and not self.part.resumable(self.md5):
                self._drop_if_cut(self.part)

    def _pause(self, problem: _Later, failures: int) -> None:
        there = self.part is not None and self.part.resumable(self.md5) and self.part.received > 0
        advice = "the same command goes on from where it stopped" if there else "try again later"
        if failures >= self.patience.attempts:
            raise CelebgenError(f"{self.url}: {problem}, {failures} times in a row; {advice}") from problem
        pause = problem.after
        if pause is None:
            pause = min(self.patience.longest, 2.0 ** (failures - 1))
        if pause > self.patience.longest_asked:
            raise CelebgenError(f"{self.url}: {problem}, and the server asks to wait {pause:.0f} s; {advice}")
        if pause > 0:
            self.say(f"{self.url}: {problem}; trying again in {pause:.0f} s")
            self.patience.wait(pause)

    def _drop_if_cut(self, part: Part) -> None:
        """Remove what nobody can go on with; a whole file stays for the caller."""
        if not part.whole:
            part.discard()

    def _attempt(self, address: str, hops: int = 0, *, ranged: bool = True) -> Part:
        headers = {"User-Agent": "celebgen", "Accept-Encoding": "identity"}
        offset = 0
        part = self.part
        if ranged and part is not None and part.received > 0 and part.resumable(self.md5):
            offset = part.received
            if part.identity.size is not None:  # of a whole file the last byte is asked for, to see if it still holds
                offset = min(offset, part.identity.size - 1)
            headers["Range"] = f"bytes={offset}-"
            if (validator := part.identity.validator) is not None:
                headers["If-Range"] = validator
        try:
            with self._open(address, headers) as a:
                if a.status != 206 or self._continues(a, offset):
                    return self._receive(a, offset, hops)
                if "Range" not in headers:
                    raise _Later("sends a part of its file that nobody asked for")
            return self._attempt(address, hops, ranged=False)  # a page that leads to the file, or another file
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and "Range" in headers:
                return self._attempt(address, hops, ranged=False)
            raise self._refused(error) from error
        except InvalidURL as error:
            raise UsageError(no_address(self.url)) from error
        except HTTPException as error:
            raise _Later(self._what(error)) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, (TimeoutError, ConnectionResetError)):
                raise _Later(self._what(error.reason)) from error
            if self.part is not None and self.part.received > 0:
                raise _Later(f"cannot be reached ({_why(error.reason)})") from error
            raise CelebgenError(
                f"{self.url} cannot be reached ({_why(error.reason)}); check the address and the network"
            ) from error
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
            raise CelebgenError(f"{self.url} cannot be fetched into {self.out}: {what}") from error
        except ValueError as error:
            raise UsageError(no_address(self.url)) from error

    def _open(self, address: str, headers: dict[str, str]) -> Any:
        try:
            request = urllib.request.Request(sendable(address), headers=headers)
            return self.opener.open(request, timeout=self.patience.timeout)
        except urllib.error.URLError:
            raise
        except OSError as error:  # once connected: the line, not the folder
            raise _Later(self._what(error)) from error

    def _read(self, read: Callable[[int], bytes], most: int) -> bytes:
        try:
            return read(most)
        except (HTTPException, OSError) as error:  # the line, not the folder
            raise _Later(self._what(error)) from error

    def _what(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer for {self.patience.timeout:g} s"
        if isinstance(error, IncompleteRead):
            return "the connection was cut"
        return f"the connection was cut ({_why(error)})"

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        if error.msg.startswith(_Redirects.inf_msg):
            return CelebgenError(f"{self.url} is redirected again and again, without an end; check it, or {WHERE}")
        if error.code in PASSING:
            return _Later(f"answers {error.code} {error.reason}", _retry_after(error.headers.get("Retry-After")))
        return CelebgenError(f"{self.url} answers {error.code} {error.reason}; check the address, or {WHERE}")

    def _receive(self, answer: HTTPResponse, offset: int, hops: int) -> Part:
        if (coding := answer.headers.get("Content-Encoding", "identity").lower()) != "identity":
            raise CelebgenError(f"{self.url} sends its file packed as {coding}, which nobody asked for; {WHERE}")
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        head = b""
        if answer.status == 206:
            assert self.part is not None
            part, self.resumed = self.part, True
            size = part.identity.size if size is None else offset + size
        else:
            while len(head) < 512 and (block := self._read(answer.read1, 512 - len(head))):
                head += block
            if not head and (size == 0 or answer.status in (204, 205)):
                raise CelebgenError(f"{self.url} answers with nothing (0 bytes); check the address, or {WHERE}")
            if looks_like_html(head):
                page = (head + self._read(answer.read, MAX_PAGE)).decode("utf-8", "replace")
                follow = confirmed_address(page, answer.geturl())
                if follow is None or hops == MAX_HOPS:
                    raise CelebgenError(what_page_says(page, self.url))
                return self._attempt(follow, hops + 1)
            name = self.name or file_name(answer.headers.get_filename(), answer.geturl())
            if (placed := self._placed(name)) is not None:
                return placed
            self._check_place(name, size, head)
            part, offset = self._start(answer, name, size), 0
        check_room(self.out, (size or 0) - offset + (size or 0) * part.name.lower().endswith(".zip"))
        with part.path.open("r+b" if offset else "wb", buffering=0) as file:
            file.seek(offset)
            while block := head or self._read(answer.read1, BLOCK):
                file.write(block)
                offset += len(block)
                head = b""
                if self.progress is not None:
                    self.progress(offset, size)
            file.truncate(offset)
        if offset == 0 or (size is not None and offset != size):
            much = "nothing" if size is None else f"{offset} bytes and not {size} bytes"
            raise _Later(f"sent {much}: the connection was cut")
        part.whole = True
        return part

    def _placed(self, name: str) -> Part | None:
        """The file of this name that is in its place already, if it has the MD5; never an archive, to be unpacked."""
        target = self.out / name
        if self.md5 is None or not target.is_file() or looks_like_archive(target, name):
            return None
        if md5_of(target) != self.md5.lower():
            return None
        self.say(f"{target} is there already and has this MD5; nothing is fetched")
        if self.part is not None:
            self.part.discard()
            self.part = None
        return Part(self.out, name, Identity(self.url, None, None, None), whole=True, placed=True)

    def _check_place(self, name: str, size: int | None, head: bytes) -> None:
        """Refuse, before the transfer, a file that would find another one in its place.

        Raises:
            CelebgenError: there is one.
        """
        target = self.out / name
        if not target.exists() or name.lower().endswith(".zip") or head.startswith(b"PK"):  # archives are unpacked
            return
        if self.md5 is None and target.is_file() and size in (None, target.stat().st_size):
            return  # the bytes will tell
        if self.part is not None:
            self.part.discard()
            self.part = None
        if self.md5 is None or target.is_dir():
            raise CelebgenError(is_another(target, self.url))
        raise CelebgenError(
            f"{target} is there already and has not the MD5 {self.md5.lower()}; delete it or choose another folder"
        )

    def _start(self, answer: HTTPResponse, name: str, size: int | None) -> Part:
        """A new part for this answer; an old one of the address goes, before a byte of the new file is written."""
        if self.part is not None:
            self.part.discard()
        identity = Identity(self.url, size, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        self.part = Part.begin(self.out, name, identity)
        self.resumed = False
        return self.part

    def _continues(self, answer: HTTPResponse, offset: int) -> bool:
        """Whether a partial answer goes on with the part at `offset`, as far as its headers tell."""
        given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if self.part is None or given is None or int(given[1]) != offset:
            return False
        total = None if given[3] == "*" else int(given[3])
        new = Identity(self.url, total, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        pairs = zip(asdict(self.part.identity).values(), asdict(new).values(), strict=True)
        return all(a is None or b is None or a == b for a, b in pairs)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https addresses only; urllib would take ftp, too."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage) -> Any:
        to = headers.get("Location") or headers.get("URI") or ""
        try:
            sendable(urllib.parse.urljoin(req.full_url, to))
        except ValueError as error:
            fp.close()
            raise CelebgenError(
                f"{req.full_url} leads to {to[:200]!a}, which is no http or https address; {WHERE}"
            ) from error
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _why(error: object) -> str:
    """The reason of a network error, without its number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _retry_after(given: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date."""
    if given is None:
        return None
    if given.strip().isdecimal():
        return float(given)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    return None


def file_name(given: str | None, url: str) -> str:
    """A plain file name from what the server says or from the address: no folder, nothing hidden, nothing odd."""
    name = given or urllib.parse.unquote(urllib.parse.urlsplit(url).path)
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in name if letter.isalnum() or letter in "._- ()").strip(". ")
    stem, suffix = os.path.splitext(name)
    ending = suffix.encode() if len(suffix.encode()) <= 20 else b""
    stem = (stem if ending else name).encode()[: MAX_NAME - len(ending)].decode("utf-8", "ignore").rstrip(". ")
    return stem + ending.decode() or "download"
