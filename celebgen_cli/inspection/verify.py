"""Whether files are as they were written: every one is read, and compared with the digest that was kept of it."""

from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import sha256_file


def verify(path: Path, kind: str, content: Any) -> str:
    """What was compared, in words, of a model, run or dataset; `content` is its JSON file.

    Raises:
        CelebgenError: a file is missing, cut off or altered.
        UsageError: nothing else has digests, a picture for example.
    """
    if kind == "model":
        return _model(path, content)
    if kind == "dataset":
        from celebgen_cli.data.dataset import open_dataset

        dataset = open_dataset(path)
        dataset.verify()
        return _told(len(dataset.info["sha256"]), "files")
    if kind == "run":
        from celebgen_cli.training.checkpoints import list_checkpoints, read_checkpoint

        found = list_checkpoints(path / "checkpoints")
        for one in found:
            read_checkpoint(one)
        return _told(len(found), "checkpoints")
    raise UsageError(f"--verify compares the files of a model, run or dataset, and {path} is a {kind}")


def _model(path: Path, content: Any) -> str:
    digests = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(digests, dict) or not digests:
        raise CelebgenError(f"{path / 'model.json'} has no digests to compare with; fetch or export the model again")
    for name, digest in digests.items():
        file = path / Path(str(name)).name
        if not file.is_file() or sha256_file(file) != digest:
            raise CelebgenError(f"{file} is missing or differs from what was exported; fetch or export the model again")
    return _told(len(digests), "files of weights")


def _told(count: int, what: str) -> str:
    return f"all {count} {what} are as they were written" if count else f"there are no {what} yet"
