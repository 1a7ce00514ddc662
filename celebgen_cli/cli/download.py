"""`celebgen download`: CelebA's files from a known place, an address or a local archive into a folder."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def download(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to put the files in.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="auto (tries the next three in this order), kaggle, huggingface, google-drive, an http or https "
            "address, or a local file or archive. kaggle:OWNER/NAME and huggingface:OWNER/NAME name another copy.",
        ),
    ] = "auto",
    md5: Annotated[
        str | None, typer.Option(metavar="HEX", help="The MD5 that the file must have (for an address or a file).")
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Agree to CelebA's terms without being asked.")
    ] = False,
    quiet: common.Quiet = False,
) -> None:
    """Fetch or copy CelebA's files, check them and unpack archives safely; prints the folder, or the file.

    The same command goes on with a download that was cut or killed, and keeps what is there already.

    Examples:

      celebgen download -o celeba

      celebgen download --source google-drive -o celeba --accept-terms

      celebgen download --source archive.zip -o celeba
    """
    from celebgen_cli.data import download as work

    work.check_source(source, md5)
    common.say(work.TERMS)
    if not accept_terms:
        _ask()
    with common.progress("download (MiB)", quiet=quiet) as update:

        def report(done: int, total: int | None) -> None:
            update(done >> 20, None if total is None else max(1, total >> 20))

        say = (lambda sentence: None) if quiet else common.say
        written = work.download(source, output, md5=md5, progress=report, say=say)
    for path in written:
        print(path)
    if not quiet:
        common.say(work.next_command(output))


def _ask() -> None:
    """Ask whether the terms are accepted.

    Raises:
        UsageError: nobody is there to be asked.
        CelebgenError: they are not accepted, or there is no answer.
        KeyboardInterrupt: Ctrl-C came.
    """
    from celebgen_cli.errors import CelebgenError, UsageError

    if not sys.stdin.isatty():
        raise UsageError("CelebA's terms, above, must be accepted: add --accept-terms to the command")
    try:
        agreed = typer.confirm("Do you accept these terms?", err=True)
    except typer.Abort as abort:
        common.say("")  # the question's line has not ended
        if isinstance(abort.__context__, KeyboardInterrupt):  # typer makes one of Ctrl-C and Ctrl-D
            raise KeyboardInterrupt from None
        agreed = False
    if not agreed:
        raise CelebgenError("the terms were not accepted, so nothing was fetched")
