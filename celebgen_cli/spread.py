"""Drawing and measuring in many processes: the main one runs the command, the others do their share when it asks.

The main process alone reads prompts, writes files and prints, so everything it does is as in one process; where it
draws faces or extracts features, the others load the same networks and take a part of the batch each.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celebgen_cli import pipeline
from celebgen_cli.errors import CelebgenError
from celebgen_cli.pipeline import Frames, Model
from celebgen_cli.processes import World, group_for_waiting, noticing, world

if TYPE_CHECKING:
    from celebgen_cli.editing.change import Change
    from celebgen_cli.evaluation.features import Announce, Inception

Frame = tuple[int, int, np.ndarray]  # first, step and faces, as `Model.sample` gives them

_group: Any = None


class Helper:
    """What a process does of the work; each method is a request by its name."""

    model: Model | None = None
    inception: Inception | None = None

    def load_model(self, path: Path | None, device: str | None, precision: str) -> None:
        """Load the model that `sample`, `reconstruct` and `edit` are about."""
        self.model = pipeline.load_model(path, device, precision)

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], settings: dict[str, Any], frames: bool
    ) -> tuple[np.ndarray, list[Frame]]:
        """Faces, and the way there where asked for."""
        assert self.model is not None
        seen: list[Frame] = []
        keep = _keeper(seen) if frames else None
        return self.model.sample(prompts, seeds, batch_size=max(1, len(prompts)), frames=keep, **settings), seen

    def reconstruct(self, images: np.ndarray, batch_size: int, calibrate: bool) -> np.ndarray:
        """See `Model.reconstruct`."""
        assert self.model is not None
        return self.model.reconstruct(images, batch_size, calibrate)

    def edit(
        self, photos: np.ndarray, changes: Sequence[Change], settings: Mapping[str, Any], how: Mapping[str, Any]
    ) -> np.ndarray:
        """See `celebgen_cli.editing.edit.edit`."""
        from celebgen_cli.editing.edit import edit

        assert self.model is not None
        return edit(self.model, photos, changes, settings, **how) if len(photos) else photos

    def load_inception(self, weights: Path | str | None, device: str) -> None:
        """Load the network of `features`."""
        from celebgen_cli.evaluation.features import load_inception

        self.inception = load_inception(weights, device)

    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, D] of uint8 [N, H, W, 3]."""
        assert self.inception is not None
        return self.inception(images)


@contextlib.contextmanager
def helped() -> Iterator[None]:
    """In the main process: the others wait for requests while the block runs, and are sent home when it ends well."""
    global _group
    _group = group_for_waiting()
    try:
        yield
        _send([None] * world().size)
    finally:
        _group = None


def help_out() -> None:
    """In every other process: do what is asked for, until there is nothing more."""
    import torch.distributed as dist

    group, helper = group_for_waiting(), Helper()
    with noticing():
        while True:
            box: list[Any] = [None]
            dist.scatter_object_list(box, None, src=0, group=group)
            if box[0] is None:
                return
            name, arguments = box[0]
            result: Any
            try:
                result = getattr(helper, name)(*arguments)
            except CelebgenError as error:  # the main process says it
                result = error
            dist.gather_object(result, None, dst=0, group=group)


def ask(name: str, shares: Sequence[tuple[Any, ...]], own: Callable[[], Any]) -> list[Any]:
    """Have every process do `name` with its share of arguments; the main process does `own`.

    Returns:
        What each of them made of it, in order of rank.

    Raises:
        CelebgenError: one of them failed in a way that it could explain.
    """
    import torch.distributed as dist

    with noticing():
        _send([None, *((name, share) for share in shares[1:])])
        try:
            mine = own()
        except CelebgenError as error:  # raised below: the others wait to be asked for theirs
            mine = error
        results: list[Any] = [None] * len(shares)
        dist.gather_object(mine, results, dst=0, group=_group)
    for result in results:
        if isinstance(result, CelebgenError):
            raise result
    return results


def _send(messages: list[Any]) -> None:
    import torch.distributed as dist

    dist.scatter_object_list([None], messages, src=0, group=_group)


def parts(count: int, where: World | None = None) -> list[slice]:
    """Contiguous parts of `count` things, one a process, that differ by one at most."""
    size = (where or world()).size
    bounds = [-(-count * rank // size) for rank in range(size + 1)]  # of few things the main process has one
    return [slice(*pair) for pair in itertools.pairwise(bounds)]


def _keeper(frames: list[Frame]) -> Frames:
    return lambda first, step, faces: frames.append((first, step, faces))


class SpreadModel(Model):
    """A model whose faces are drawn by all processes; each face is the one that a single process draws."""

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        batch_size: int = 16,
        callback: Callable[[int, int], None] | None = None,
        frames: Frames | None = None,
        **settings: Any,
    ) -> np.ndarray:
        """See `Model.sample`; `batch_size` is of all processes together."""
        pipeline.same_number(prompts, seeds)
        pipeline.check_batch_size(batch_size)
        images, firsts = [], range(0, len(prompts), batch_size)
        for done, first in enumerate(firsts):
            some = slice(first, first + batch_size)

            def count(step: int, steps: int, before: int = done) -> None:
                if callback is not None:
                    callback(before * steps + step, len(firsts) * steps)

            images.append(self._batch(prompts[some], seeds[some], first, count, frames, settings))
        return np.concatenate(images) if images else super().sample([], [], **settings)

    def _batch(
        self, prompts: Sequence[str], seeds: Sequence[int], first: int, count: Callable[[int, int], None],
        frames: Frames | None, settings: dict[str, Any],
    ) -> np.ndarray:  # fmt: skip
        shares = [(prompts[part], seeds[part], settings, frames is not None) for part in parts(len(prompts))]
        mine: list[Frame] = []
        alone = super().sample

        def own() -> tuple[np.ndarray, list[Frame]]:
            some, of = shares[0][:2]
            keep = None if frames is None else _keeper(mine)
            return alone(some, of, batch_size=max(1, len(some)), callback=count, frames=keep, **settings), mine

        done = ask("sample", shares, own)
        if frames is not None:
            for part, (_, seen) in zip(parts(len(prompts)), done, strict=True):
                for offset, step, faces in seen:
                    frames(first + part.start + offset, step, faces)
        return np.concatenate([faces for faces, _ in done])

    def reconstruct(self, images: np.ndarray, batch_size: int = 32, calibrate: bool = True) -> np.ndarray:
        """See `Model.reconstruct`."""
        pipeline.check_batch_size(batch_size)
        shares = [(np.asarray(images[part]), batch_size, calibrate) for part in parts(len(images))]
        alone = super().reconstruct
        return np.concatenate(ask("reconstruct", shares, lambda: alone(*shares[0])))


def edit(
    model: Model, photos: np.ndarray, changes: Sequence[Change], settings: Mapping[str, Any], **how: Any
) -> np.ndarray:
    """`celebgen_cli.editing.edit.edit`, by all processes where there are several; `how` names no seeds."""
    helper = Helper()
    helper.model = model
    if not isinstance(model, SpreadModel):
        return helper.edit(photos, changes, settings, how)
    shares = [(photos[part], list(changes[part]), dict(settings), how) for part in parts(len(photos))]
    return np.concatenate(ask("edit", shares, lambda: helper.edit(*shares[0])))


class SpreadInception:
    """An extractor whose features are made by all processes."""

    def __init__(self, inception: Inception) -> None:
        self._inception = inception

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inception, name)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, D] of uint8 [N, H, W, 3]."""
        shares = [(np.ascontiguousarray(images[part]),) for part in parts(len(images))]
        return np.concatenate(ask("features", shares, lambda: self._inception(*shares[0])))


def load_model(path: Path | str | None = None, device: str | None = None, precision: str = "auto") -> Model:
    """`celebgen_cli.pipeline.load_model`, by all processes where there are several."""
    model = pipeline.load_model(path, device, precision)  # first and alone: whatever has to be fetched is fetched once
    if _group is None:
        return model
    ask("load_model", [(None if path is None else Path(path), device, precision)] * world().size, lambda: None)
    return SpreadModel(*(getattr(model, field.name) for field in fields(Model)))


def load_inception(weights: Path | str | None, device: str, *, announce: Announce | None = None) -> Inception:
    """`celebgen_cli.evaluation.features.load_inception`, by all processes where there are several."""
    from celebgen_cli.evaluation import features

    inception = features.load_inception(weights, device, announce=announce)
    if _group is None:
        return inception
    ask("load_inception", [(weights, device)] * world().size, lambda: None)
    return SpreadInception(inception)  # type: ignore[return-value]
