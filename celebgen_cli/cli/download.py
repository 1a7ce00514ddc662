"""`celebgen download`: CelebA's files from a local archive or an address into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def download(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to put the files in.")],
    source: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            help="A local file or archive, or an http, https or file address; auto says where to get CelebA.",
        ),
    ] = "auto",
    md5: Annotated[str | None, typer.Option(metavar="HEX", help="The MD5 that the file must have.")] = None,
    quiet: common.Quiet = False,
) -> None:
    """Copy or fetch CelebA's files and unpack archives safely; prints the folder, or the file if it is no archive.

    Example: celebgen download --source archive.zip -o celeba
    """
    from celebgen_cli.data import download as work

    common.say(work.TERMS)
    with common.progress("download (MiB)", quiet=quiet) as update:

        def report(done: int, total: int | None) -> None:
            update(done >> 20, None if total is None else max(1, total >> 20))

        written = work.download(source, output, md5=md5, progress=report)
    for path in written:
        print(path)
