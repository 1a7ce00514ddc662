"""Whether edits of photographs do what they are asked, and leave alone what they are not.

Photographs that lack something by their labels are edited to have it. The attribute judge says how many show it then,
and how many of its other answers are as before; LPIPS says how far the pictures have moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions.lexicon import CONFLICTS, YIELDING
from celebgen_cli.editing.change import HIDDEN
from celebgen_cli.editing.edit import edit_level, edit_settings
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.edited import Edited, Picked, Rebuilt
from celebgen_cli.evaluation.extraction import features_of
from celebgen_cli.evaluation.judging import open_judge
from celebgen_cli.evaluation.obedience import thresholds
from celebgen_cli.evaluation.options import Listener, Options
from celebgen_cli.evaluation.pictures import MADE_HERE
from celebgen_cli.evaluation.reconstruction import checked_count
from celebgen_cli.evaluation.similarity import LPIPS_VARIABLE, find_lpips, wilson
from celebgen_cli.evaluation.sources import SplitImages
from celebgen_cli.evaluation.subjects import open_model
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.images import encode_png, grid, refuse_foreign

DEFAULT_NUM = 160
SHOWN = 8
"""Photographs of each edit on the sheet, at most."""


@dataclass(frozen=True)
class Edit:
    """One thing to ask of photographs that lack it.

    Attributes:
        prompt: the words. attribute, present: what they ask for. needs: what photographs must be besides, by attribute.
    """

    prompt: str
    attribute: str
    present: bool = True
    needs: tuple[tuple[str, bool], ...] = ()


_HEADED = (("Bald", False), ("Wearing_Hat", False))
EDITS = (
    Edit("smiling", "Smiling"),
    Edit("not smiling", "Smiling", False),
    Edit("eyeglasses", "Eyeglasses"),
    Edit("blond hair", "Blond_Hair", needs=_HEADED),
    Edit("black hair", "Black_Hair", needs=_HEADED),
    Edit("bangs", "Bangs", needs=_HEADED),
    Edit("old", "Young", False),
    Edit("young", "Young"),
    Edit("with a beard", "No_Beard", False, (("Male", True),)),
    Edit("wearing a hat", "Wearing_Hat"),
)


@dataclass(frozen=True)
class EditTally:
    """Figures over some edited photographs.

    Attributes:
        n: photographs. hit: share that shows what was asked for. interval: 95 % of it (Wilson).
        before: the same share of the photographs themselves: the judge errs. ceiling: of real faces that have it so,
            None where no face of the dataset has.
        kept: share of the judge's other answers that are as before; what the request rules out or hides (hair of
            another colour, hair under a hat) does not count. kept_by_cvae: the same of reconstructions.
        lpips: mean distance to the photographs (AlexNet), None without its weights. lpips_of_cvae: of reconstructions.
    """

    n: int
    hit: float
    interval: tuple[float, float]
    before: float
    ceiling: float | None
    kept: float
    kept_by_cvae: float
    lpips: float | None
    lpips_of_cvae: float | None


@dataclass(frozen=True)
class EditsResult:
    """What `evaluate edits` says.

    Attributes:
        total: over all edits. edits: by prompt.
        n, size, crop, source, model, model_sha256, judge, judge_sha256, seed, settings: what was measured, and how.
        sheet: file of the pictures, where it was asked for.
    """

    total: EditTally
    edits: dict[str, EditTally]
    n: int
    size: int
    crop: str | None
    source: str
    model: str
    model_sha256: str
    judge: str
    judge_sha256: str
    seed: int
    settings: dict[str, Any]
    sheet: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `hit` is the headline, and more is better."""
        return {**asdict(self.total), **asdict(self)}


def evaluate_edits(
    model: str | None,
    real: str | None,
    options: Options,
    *,
    strength: float = 0.8,
    method: str = "invert",
    detail: bool | None = None,
    read: bool = True,
    calibrate: bool = True,
    judge: Path | None = None,
    lpips_weights: Path | None = None,
    sheet: Path | None = None,
    listener: Listener | None = None,
) -> EditsResult:
    """Edit photographs of a dataset by a model, by each of `EDITS`, and judge them.

    Args:
        model: folder, name or hf:// address; None is the model in the box.
        real: `DATASET[:SPLIT]` with attributes; None is the valid split of `$CELEBGEN_DATASET`.
        options: `num` photographs in all (None: 160), steps and guidance among `sampling`, seed of which are taken.
        strength, method, detail: of `editing.edit.edit`; detail None is as `celebgen edit` has it. read: whether the
            judge says what a photograph shows. calibrate: whether pictures go through the filter of the calibration.
        sheet: a PNG for a row of photographs of each edit, with the edited ones below.

    Raises:
        UsageError: `model` is no model, nothing is known of the photographs, too few lack what is asked for, or a
            setting cannot be.
        CelebgenError: something is missing or damaged.
    """
    listener = listener or Listener()
    refuse_foreign("--sheet", [sheet] if sheet else [])
    reference = compare.open_real_images(real)
    if not isinstance(reference, SplitImages) or reference.attributes is None:
        raise UsageError(f"the attributes of {reference.label} are not known; name a prepared dataset that has them")
    editor = open_model(model, options)
    checked_count(editor, reference, None, listener.say)
    settings = edit_settings(editor, options.sampling.get("steps"), options.sampling.get("guidance"))
    edit_level(editor, strength, method)
    how = {"strength": strength, "method": method, "detail": method == "invert" if detail is None else detail,
           "calibrate": calibrate}  # fmt: skip
    network = find_lpips(lpips_weights, options.device)
    if network is None:
        listener.say(f"LPIPS is left out: no AlexNet is here (--perceptual-weights DIR, or ${LPIPS_VARIABLE})")
    rows = choose(reference.attributes, options.num or DEFAULT_NUM, options.seed)
    eyes = open_judge(judge, model, options.device)
    reader = open_judge(None, model, options.device) if read else None  # as `celebgen edit` reads
    size, cache = options.batch_size or 16, options.cache
    truth = features_of(reference, eyes, batch_size=64, progress=listener.progress("real"), cache=cache)
    bar = thresholds(truth, reference.attributes)
    tables, shown = [], []
    for one in EDITS:
        photos, change = Picked(reference, rows[one]), Edited(editor, eyes, network, one.prompt, settings, how, reader)
        after, rebuilt = (
            features_of(photos, numbers, batch_size=size, progress=listener.progress(label), cache=cache)
            for numbers, label in ((change, one.prompt), (Rebuilt(editor, eyes, network, calibrate), "rebuilt"))
        )
        tables.append(_table(one, after, rebuilt, truth, reference.attributes, rows[one], bar))
        if sheet is not None:
            few = next(photos.batches(min(SHOWN, len(photos)), SHOWN))
            shown += [few, change.pictures(few)]
    if sheet is not None:
        atomic_write_bytes(sheet, encode_png(grid(np.concatenate(shown), columns=len(shown[0])), None, MADE_HERE))
    return EditsResult(
        total=_tally(np.concatenate(tables), network is not None),
        edits={one.prompt: _tally(table, network is not None) for one, table in zip(EDITS, tables, strict=True)},
        n=sum(map(len, tables)),
        size=editor.size,
        crop=reference.crop,
        source=reference.label,
        model=editor.name,
        model_sha256=editor.sha256,
        judge=eyes.source,
        judge_sha256=eyes.weights_sha256,
        seed=options.seed,
        settings={**settings, **how, "read": read, "precision": editor.precision},
        sheet=None if sheet is None else str(sheet),
    )


def choose(attributes: np.ndarray, count: int, seed: int) -> dict[Edit, list[int]]:
    """Rows of photographs for each of `EDITS`, in equal numbers, that lack what it asks for and have what it needs.

    Args:
        attributes: int8 [N, 40] in -1 / 1. count: in all; what does not divide evenly is left out.

    Raises:
        UsageError: fewer photographs than edits are asked for, or there are too few photographs of a kind.
    """
    each = count // len(EDITS)
    if not each:
        raise UsageError(f"--num must be at least {len(EDITS)}, one photograph for each edit, not {count}")
    rows = {}
    for place, one in enumerate(EDITS):
        wanted = ((one.attribute, not one.present), *one.needs)
        fit = np.all([(attributes[:, INDEX[name]] > 0) == value for name, value in wanted], axis=0)
        if fit.sum() < each:
            raise UsageError(f"{fit.sum()} photographs suit the edit '{one.prompt}', not {each}; ask for fewer")
        rows[one] = np.random.default_rng([seed, 43, place]).permutation(np.flatnonzero(fit))[:each].tolist()
    return rows


COLUMNS = ("hit", "before", "ceiling", "kept", "kept_by_cvae", "lpips", "lpips_of_cvae")


def _table(
    one: Edit,
    after: np.ndarray,
    rebuilt: np.ndarray,
    truth: np.ndarray,
    labels: np.ndarray,
    rows: Sequence[int],
    bar: np.ndarray,
) -> np.ndarray:
    """Float [n, COLUMNS] of the photographs of one edit; LPIPS is NaN where it was not measured."""
    column, count = INDEX[one.attribute], len(ATTRIBUTES)
    others = np.ones(count, dtype=bool)
    others[[column, *(INDEX[b] for pair in (*CONFLICTS, *YIELDING) if one.attribute in pair for b in pair)]] = False
    others[[INDEX[name] for name in HIDDEN.get(one.attribute, ()) if one.present]] = False
    seen, made, back = (answers[:, :count] > bar for answers in (truth[rows], after, rebuilt))
    has = (labels[:, column] > 0) == one.present
    ceiling = float(((truth[has, column] > bar[column]) == one.present).mean()) if has.any() else np.nan
    none = np.full(len(rows), np.nan)
    apart = [numbers[:, count] if numbers.shape[1] > count else none for numbers in (after, rebuilt)]
    return np.stack([
        made[:, column] == one.present, seen[:, column] == one.present, np.full(len(rows), ceiling),
        (made == seen)[:, others].mean(axis=1), (back == seen)[:, others].mean(axis=1), *apart,
    ], axis=1).astype(np.float64)  # fmt: skip


def _tally(table: np.ndarray, with_lpips: bool) -> EditTally:
    means = dict(zip(COLUMNS, map(float, table.mean(axis=0)), strict=True))
    hit, ceiling, moved, back = (means.pop(name) for name in ("hit", "ceiling", "lpips", "lpips_of_cvae"))
    return EditTally(
        len(table), hit, wilson(hit * len(table), len(table)), **means, ceiling=None if np.isnan(ceiling) else ceiling,
        lpips=moved if with_lpips else None, lpips_of_cvae=back if with_lpips else None,
    )  # fmt: skip
