"""What the subcommands of `celebgen evaluate` share: arguments, sampling settings, a listener with a bar, lines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli import common

if TYPE_CHECKING:
    from celebgen_cli.evaluation.compare import Listener

Generated = Annotated[
    str | None,
    typer.Argument(
        metavar="[GENERATED]",
        help="Model, folder or zip of images, DATASET[:SPLIT], statistics file. Default: the model in the box.",
        show_default=False,
    ),
]
Real = Annotated[
    str | None,
    typer.Argument(
        metavar="[REAL]",
        help="Folder or zip of images, DATASET[:SPLIT] or statistics file. Default: the valid split of "
        "$CELEBGEN_DATASET, else the statistics of CelebA's valid split that come with celebgen.",
        show_default=False,
    ),
]
Labelled = Annotated[
    str | None,
    typer.Argument(
        metavar="[REAL]",
        help="DATASET[:SPLIT] with attributes. Default: the valid split of $CELEBGEN_DATASET.",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--inception-weights",
        metavar="FILE",
        help="torch-fidelity's InceptionV3. Default: $CELEBGEN_INCEPTION_WEIGHTS, else fetched once (91 MiB).",
    ),
]
Number = Annotated[int | None, typer.Option("--num", "-n", min=2, help="Images to measure. Default: all there are.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
GuidanceInterval = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Default: the model's.")
]
Pag = Annotated[bool | None, typer.Option("--pag/--no-pag", help="Perturbed-attention guidance. Default: the model's.")]
Calibrate = Annotated[
    bool | None,
    typer.Option("--calibrate/--no-calibrate", help="The model's correction of what it draws. Default: on."),
]
Negative = Annotated[str | None, typer.Option("--negative", help="Negative prompt.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the first image.")]


@dataclass(frozen=True)
class Drawing:
    """How a model draws what is measured."""

    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps. Default: the model's.")] = None
    sampler: Annotated[str | None, typer.Option("--sampler", help="Default: the model's.")] = None
    guidance: Annotated[float | None, typer.Option("--guidance", help="Default: the model's.")] = None
    guidance_interval: GuidanceInterval = None
    pag: Pag = None
    calibrate: Calibrate = None
    negative: Negative = None

    def settings(self) -> dict[str, Any]:
        """The settings that were given, as `Model.sample` takes them; those that are None are the model's own."""
        return sampling(**vars(self))


@dataclass(frozen=True)
class Computing:
    """By what means it is measured."""

    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Images at a time.")] = None
    device: common.Device = None
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Keep features for next time, and go on where a run was cut off."),
    ] = True
    quiet: common.Quiet = False

    def options(self) -> dict[str, Any]:
        """What of it `celebgen_cli.evaluation.options.Options` holds."""
        return {"batch_size": self.batch_size, "device": self.device, "cache": self.cache}


def sampling(**settings: Any) -> dict[str, Any]:
    """Those of these settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}


NoFloor = Annotated[bool, typer.Option("--no-floor", help="Leave out the floor: the metric between real images.")]
Save = Annotated[
    Path | None, typer.Option("--save", metavar="DIR", help="Keep what the model draws, as PNG, with its prompts.")
]


def refuse_idle(generated: str | None, drawing: Drawing, save: Path | None = None, num: int | None = None) -> None:
    """Refuse options that would do nothing, because faces that are there already are not drawn.

    num: given where statistics, which are of all their images, cannot heed it.

    Raises:
        UsageError: there is one, or the word names nothing.
    """
    from celebgen_cli.errors import UsageError
    from celebgen_cli.evaluation.sources import kind_of
    from celebgen_cli.models.registry import find

    if generated is None or (kind := kind_of(str(find(generated, strict=False)))) == "model":
        return
    given = [*drawing.settings(), *(["save"] if save is not None else [])]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} is for a model that draws, and {generated} holds faces that are there "
            "already; leave it out"
        )
    if num is not None and kind == "statistics":
        raise UsageError(f"--num is for images, and {generated} is statistics of a number of them; leave it out")


@contextlib.contextmanager
def listening(quiet: bool) -> Iterator[Listener]:
    """A listener with one bar at a time on stderr."""
    from celebgen_cli.evaluation import compare

    with contextlib.ExitStack() as stack:

        class Terminal(compare.Listener):
            def say(self, sentence: str) -> None:
                if not quiet:
                    # Through the console, so that a bar that is shown moves down.
                    common.stderr().print(sentence, markup=False, emoji=False, highlight=False, soft_wrap=True)

            def progress(self, label: str) -> Callable[[int, int], None]:
                stack.close()
                return stack.enter_context(common.progress(label, quiet=quiet))

        yield Terminal()


def side(info: Mapping[str, Any]) -> str:
    """What a side is, in one line."""
    parts = [
        str(info.get("source") or info.get("kind") or "unknown"),
        f"N {info.get('n')}",
        f"size {info.get('size') or 'unknown'}",
        f"crop {info.get('crop') or 'unknown'}",
    ]
    if info.get("filter"):
        parts.append(f"filter {info['filter']}")
    settings = info.get("settings") or {}
    for name in ("sampler", "spacing", "steps", "guidance", "guidance_interval", "pag", "negative", "seed"):
        value = settings.get(name)
        if value is None or value is False or value in ([0, 1], (0, 1), "trailing"):
            continue
        shown = " to ".join(map(str, value)) if isinstance(value, list | tuple) else value
        parts.append(name if value is True else f"{name.replace('_', ' ')} {shown}")
    if settings.get("calibrate") is False:
        parts.append("not calibrated")
    return ", ".join(parts)


def versions() -> dict[str, str]:
    """Versions of what computes the figures."""
    from celebgen_cli.evaluation.statistics import tool_versions

    return tool_versions()


def tools() -> str:
    """The same in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions().items())


def with_interval(value: float, half: float | None, form: str = ".4f") -> str:
    """A figure and half the width of its interval, where there is one."""
    return format(value, form) + (f" +/- {format(half, form)}" if half is not None else "")


def share(value: float | None) -> str:
    """A share in per cent; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def remark(text: str, quiet: bool) -> None:
    """A line on stderr, unless it shall be quiet there."""
    if not quiet:
        common.say(text)
