"""What reconstruction, text and memorization are measured on: a model by a word, or the faces that somebody drew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.options import Options
from celebgen_cli.evaluation.sources import ImageSource, ModelImages, kind_of, open_images
from celebgen_cli.models.registry import find

if TYPE_CHECKING:
    from celebgen_cli.data.captions import CaptionSource
    from celebgen_cli.pipeline import Model

GENERATED = 500
"""Faces that a model draws where nobody says how many."""


def is_model(word: str | None) -> bool:
    """Whether a word names a model; None is the one in the box.

    Raises:
        UsageError: it names nothing.
    """
    return word is None or kind_of(str(find(word, strict=False))) == "model"


def open_model(word: str | None, options: Options) -> Model:
    """The model that a word names; None is the one in the box.

    Raises:
        UsageError: it names something else.
        CelebgenError: the model is missing or damaged.
    """
    folder = None if word is None else str(find(word, strict=False))
    if not is_model(word):
        raise UsageError(f"{word} is not a model folder (it has no model.json)")
    return compare.load_pipeline(folder, options.device)


def draw(model: Model, captions: CaptionSource | None, options: Options) -> ModelImages:
    """The faces that a model draws for captions of the rows, `GENERATED` of them where the options do not say.

    Where nothing is known of the reference, captions are those of the statistics that ship with this program.
    """
    count = options.num or GENERATED
    return ModelImages(
        model, compare.rows_to_ask(captions), count, seed=options.seed, settings=options.sampling, save=options.save
    )


def open_generated(word: str) -> ImageSource:
    """Faces on disk that a word names: a folder, a zip or `DATASET[:split]`.

    Raises:
        UsageError: it names something else.
    """
    if kind_of(word) == "statistics":
        raise UsageError(f"{word} is a statistics file and faces are needed here: name a model, a folder or a zip")
    return open_images(word)
