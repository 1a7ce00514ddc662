"""Web pages that come in place of a file: Google Drive's question about viruses, its quota notice, any other page."""

from __future__ import annotations

import urllib.parse
from html.parser import HTMLParser

from celebgen_cli.data.download.official import WHERE
from celebgen_cli.errors import UsageError

DRIVE = "https://drive.usercontent.google.com/download"
"""Where Google Drive serves shared files, given `?id=ID&export=download`."""

MAX_PAGE = 2**20
"""Bytes of a page that are read; Drive's pages have some kilobytes."""


def sendable(url: str) -> str:
    """An address as it goes over the line: a host's name in IDNA, and percent signs for letters that none may hold.

    >>> sendable("https://example.org/a b.zip")
    'https://example.org/a%20b.zip'

    Raises:
        ValueError: not http or https, no host, no number for a port, a bracket without the other.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(url)
    if any(letter.isspace() or not letter.isprintable() for letter in parts.netloc):
        raise ValueError(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode("ascii")
    path, query = (
        urllib.parse.quote(part, safe="!$%&'()*+,/:;=?@[]~", errors="surrogateescape")
        for part in (parts.path, parts.query)
    )
    return urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))


def check_address(url: str) -> None:
    """Refuse what cannot be the address of a file.

    Raises:
        UsageError: see `sendable`.
    """
    try:
        sendable(url)
    except ValueError as error:
        raise UsageError(no_address(url)) from error


def no_address(url: str) -> str:
    """The sentence for an address that cannot be one."""
    return f"{url} is not an address that can be fetched; it must look like https://HOST/FILE"


def drive_address(file_id: str) -> str:
    """The address of a shared file's content on Google Drive."""
    return f"{DRIVE}?{urllib.parse.urlencode({'id': file_id, 'export': 'download'})}"


def direct_address(url: str) -> str:
    """What a link that shares a file on Google Drive, made to be looked at, is to be fetched by; others as they are.

    >>> direct_address("https://drive.google.com/file/d/1AbC/view?usp=sharing")
    'https://drive.usercontent.google.com/download?id=1AbC&export=download'
    """
    parts = urllib.parse.urlsplit(url)
    if parts.hostname not in ("drive.google.com", "docs.google.com"):
        return url
    folders = parts.path.strip("/").split("/")
    if "d" in folders[:-1]:
        return drive_address(folders[folders.index("d") + 1])
    given = urllib.parse.parse_qs(parts.query).get("id")
    return drive_address(given[0]) if given else url


def confirmed_address(page: str, url: str) -> str | None:
    """Where the form on Google Drive's virus page leads, or None if this is another page.

    Drive does not scan large files for viruses and answers with a form of hidden fields to be sent back (`GET`). A
    form that leads to neither the page's own host nor Google's is not followed.
    """
    form = _Form()
    form.feed(page)
    if form.action is None:
        return None
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(url, form.action))
    except ValueError:
        return None
    host = parts.hostname or ""
    own = urllib.parse.urlsplit(url).hostname
    if parts.scheme not in ("http", "https") or not (host == own or host.endswith(".google.com")):
        return None
    fields = urllib.parse.parse_qsl(parts.query) + list(form.fields.items())
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(fields)))


def what_page_says(page: str, url: str) -> str:
    """One sentence for an error: what page came from `url` in place of a file, and what to do."""
    text = page.lower()
    if "quota exceeded" in text or "too many users have viewed or downloaded" in text:
        return (
            f"{url} answers with a web page instead of a file: so many people fetched it that its quota for today is "
            f"used up; try again tomorrow, or {WHERE}"
        )
    return (
        f"{url} answers with a web page instead of a file (a quota notice or a login, often); open it in a browser, "
        f"or {WHERE}"
    )


class _Form(HTMLParser):
    """Collects the form with the id `download-form`: where it leads, and its hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form" and values.get("id") == "download-form":
            self.action, self._inside = values.get("action") or "", True
        elif tag == "input" and self._inside and values.get("type") == "hidden" and values.get("name"):
            self.fields[str(values["name"])] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
