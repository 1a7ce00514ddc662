"""How well faces fit their prompts in the eyes of a CLIP: its score, and whether it finds the prompt of a face.

CLIP score: 100 max(cos(image, text), 0), averaged over pairs (Hessel et al. 2021, arXiv 2104.08718; the scale of
torchmetrics). R-precision: the share of faces whose own prompt is nearest among K (Xu et al. 2018, arXiv 1711.10485,
section 4.1). Prompts made of attributes are true of many faces, so where attributes are known the K - 1 others are such
as contradict what the face was asked to show; else they are other texts.

Neither means much by itself: a CLIP has its own scale. So the same prompts are scored against the photographs that they
were made from, which is the ceiling, and every face against the other faces' prompts, which is the floor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.data.captions import CaptionSource, is_true_of
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.clips import Clip, conditions, find_clip
from celebgen_cli.evaluation.extraction import features_of
from celebgen_cli.evaluation.options import Listener, Options, estimate
from celebgen_cli.evaluation.similarity import interval, wilson
from celebgen_cli.evaluation.sources import ImageFiles, ImageSource, SplitImages
from celebgen_cli.evaluation.statistics import Statistics
from celebgen_cli.evaluation.subjects import draw, is_model, open_generated, open_model
from celebgen_cli.images import read_metadata
from celebgen_cli.sampling.prompts import numbered_lines

CANDIDATES = 100
"""K of R-precision, as in the work that introduced it."""

DISTRACTORS = 44  # the purpose of a random state: the wording of face i has (seed, i)
SCALE = 100.0


@dataclass(frozen=True)
class TextResult:
    """Figures of faces and their prompts.

    Attributes:
        score: CLIP score, 0 to 100; `score_interval` is half the width of its 95 % interval over faces,
            None for one.
        score_real: of the photographs that the prompts were made from, the ceiling; None where there are none.
        score_shuffled: of every face with the prompts of the others, the floor.
        r_precision: share of faces whose own prompt is nearest of `candidates`; `r_precision_interval` its 95 % bounds.
        r_precision_real: of those photographs. chance: what guessing would reach, 1 / candidates.
        distractors: "contradicting": the other prompts contradict what the face was asked to show; "other": they are
            other texts, and may be true of it.
        clip, clip_sha256: which CLIP. conditions_model: whether its text tower is the one that the model reads with, so
            that the score flatters.
        n, prompts: faces, and how many different prompts they have.
        generated, real: what the faces and the photographs are.
    """

    score: float
    score_interval: float | None
    score_real: float | None
    score_shuffled: float
    r_precision: float
    r_precision_interval: tuple[float, float]
    r_precision_real: float | None
    chance: float
    candidates: int
    distractors: str
    clip: str
    clip_sha256: str
    conditions_model: bool
    n: int
    prompts: int
    seed: int
    generated: dict[str, Any]
    real: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """What N faces were asked to show.

    Attributes:
        prompts: their N texts.
        named: int8 [N, 40], what each prompt names (-1, 0, 1), or None where that is not known.
        attributes: int8 [N, 40] in -1 / 1, of the row that each prompt was made from, or None.
    """

    prompts: list[str]
    named: np.ndarray | None = None
    attributes: np.ndarray | None = None


def asked_of(captions: CaptionSource, count: int, seed: int) -> Asked:
    """The captions that `ModelImages` draws faces for, with what is known of them."""
    drawn = captions.captions_for(count, seed)
    if drawn.stored.any() or not captions.known.all():
        return Asked(drawn.texts)
    return Asked(drawn.texts, drawn.named, captions.attributes[np.arange(count) % len(captions)])


def clip_scores(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """100 max(cos, 0) of each pair of unit vectors [N, D]: float64 [N]."""
    return SCALE * np.maximum(np.einsum("nd,nd->n", images.astype(np.float64), texts.astype(np.float64)), 0)


def shuffled_score(images: np.ndarray, texts: np.ndarray, prompts: Sequence[str] | None = None) -> float:
    """Mean of 100 max(cos, 0) over all pairs [N, D] x [N, D] that do not belong together; 0 where there are none.

    `prompts`, in words: a face does not belong to the equal prompt of another face any less than to its own.
    """
    count = len(images)
    same = np.arange(count) if prompts is None else np.unique(np.asarray(prompts, dtype=object), return_inverse=True)[1]
    total, pairs = 0.0, 0
    for start in range(0, count, 512):
        others = same[start : start + 512, None] != same[None]
        scores = np.maximum(images[start : start + 512].astype(np.float64) @ texts.T, 0)
        total, pairs = total + SCALE * float(scores[others].sum()), pairs + int(others.sum())
    return total / max(1, pairs)


def distractors_of(asked: Asked, candidates: int, seed: int) -> tuple[np.ndarray, str]:
    """For each face the rows of `candidates` - 1 prompts that are not its own: int [N, K - 1], and of which kind.

    K is lower where there are not enough for every face. The choice depends on (seed, face) alone.

    Raises:
        UsageError: there is no face with a prompt to tell its own from.
    """
    first = {text: i for i, text in reversed(list(enumerate(asked.prompts)))}  # one row for each text
    pool = np.array(sorted(first.values()))
    texts = np.array([first[text] for text in asked.prompts])
    contradicting = asked.named is not None and asked.attributes is not None
    choices = []
    for i in range(len(asked.prompts)):
        if asked.named is not None and asked.attributes is not None:
            choices.append(pool[~is_true_of(asked.named[pool], asked.attributes[i])])
        else:
            choices.append(pool[pool != texts[i]])
    others = min([candidates - 1, *(len(choice) for choice in choices)])
    if others < 1:
        raise UsageError("R-precision needs prompts that differ, and there are none: measure more faces")
    chance = (np.random.default_rng((seed, i, DISTRACTORS)) for i in range(len(choices)))
    rows = [rng.permutation(choice)[:others] for rng, choice in zip(chance, choices, strict=True)]
    return np.stack(rows), "contradicting" if contradicting else "other"


def first_of(images: np.ndarray, texts: np.ndarray, distractors: np.ndarray) -> np.ndarray:
    """How far each face's own prompt comes first among it and its distractors: float64 [N] in 0..1.

    1 where it is the nearest alone, 1 / m where m are equally near, 0 where another is nearer.
    """
    own = np.einsum("nd,nd->n", images, texts)
    rest = np.einsum("nd,nkd->nk", images, texts[distractors]) if len(images) < 2048 else None
    if rest is None:
        rest = np.stack([texts[row] @ image for image, row in zip(images, distractors, strict=True)])
    close = np.isclose(rest, own[:, None], rtol=0, atol=1e-6)
    best = ((rest < own[:, None]) | close).all(axis=1)
    return np.where(best, 1 / (1 + close.sum(axis=1)), 0.0)


def measure_text(
    clip: Clip,
    faces: ImageSource,
    asked: Asked,
    *,
    photographs: ImageSource | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
    model: Any = None,
    batch_size: int = 32,
    listener: Listener | None = None,
    cache: bool = False,
) -> TextResult:
    """Score faces against what they were asked to show.

    Args:
        photographs: those that the prompts were made from, image i modulo their number for prompt i.
        model: what drew the faces, to tell whether this CLIP conditions it.

    Raises:
        UsageError: the prompts do not differ, or `candidates` is below 2.
    """
    listener = listener or Listener()
    if candidates < 2:
        raise UsageError(f"--candidates must be at least 2, not {candidates}")
    count = len(asked.prompts)
    distractors, kind = distractors_of(asked, candidates, seed)  # before anything slow
    texts = clip.texts(asked.prompts)
    images = features_of(
        faces, clip, count, batch_size=batch_size, progress=listener.progress("faces"), cache=cache,
        timing=estimate(count, 0, listener),
    )  # fmt: skip
    found, scores = first_of(images, texts, distractors), clip_scores(images, texts)
    real_score = real_precision = None
    if photographs is not None:
        rows = np.arange(count) % len(photographs)
        real = features_of(
            photographs, clip, int(rows.max()) + 1, batch_size=batch_size, progress=listener.progress("photographs"),
            cache=cache,
        )[rows]  # fmt: skip
        real_score, real_precision = float(clip_scores(real, texts).mean()), first_of(real, texts, distractors).mean()
    among = distractors.shape[1] + 1
    return TextResult(
        score=float(scores.mean()),
        score_interval=interval(scores),
        score_real=real_score,
        score_shuffled=shuffled_score(images, texts, asked.prompts),
        r_precision=float(found.mean()),
        r_precision_interval=wilson(float(found.sum()), count),
        r_precision_real=None if real_precision is None else float(real_precision),
        chance=1 / among,
        candidates=among,
        distractors=kind,
        clip=clip.name,
        clip_sha256=clip.sha256,
        conditions_model=model is not None and conditions(clip, model),
        n=count,
        prompts=len(set(asked.prompts)),
        seed=seed,
        generated={"source": faces.label, "kind": faces.kind, "n": count, "size": faces.size, "crop": faces.crop,
                   "settings": faces.settings()},
        real=None if photographs is None else photographs.label,
    )  # fmt: skip


def evaluate_text(
    generated: str | None,
    real: str | None,
    options: Options,
    *,
    clip: str | None = None,
    candidates: int = CANDIDATES,
    prompts: Path | None = None,
    listener: Listener | None = None,
) -> TextResult:
    """CLIP score and R-precision of what a word names.

    Args:
        generated: a model (None: the one in the box), which draws for captions of the real side; a folder of pictures
            that celebgen made, whose prompts are in them; any folder or zip with `prompts`; or `DATASET[:split]`,
            photographs with captions of their own.
        real: what captions are made of, and the photographs of the ceiling; None is the valid split of
            `$CELEBGEN_DATASET`, else the attributes of the shipped statistics, without photographs.
        clip: see `celebgen_cli.evaluation.clips`; None looks for one that does not condition the model.
        prompts: a file with one prompt a line, in the order of the pictures' names.

    Raises:
        UsageError: a word names nothing that can be scored, prompts are missing, or no CLIP is at hand.
        CelebgenError: images or weights are missing or damaged.
    """
    listener = listener or Listener()
    model, photographs = None, None
    faces: ImageSource
    if is_model(generated):
        if prompts is not None:
            raise UsageError("--prompts goes with a folder of pictures: a model draws for captions of the real side")
        reference = compare.open_real(real)
        if real is not None and not isinstance(reference, Statistics) and reference.captions is None:
            raise UsageError(
                f"{real} has neither attributes nor captions to draw faces for; name a prepared dataset that has"
            )
        model = open_model(generated, options)
        network = find_clip(model, clip, options.device)
        if isinstance(reference, Statistics):
            captions = None if reference.attributes is None else CaptionSource(reference.attributes)
        else:
            captions = reference.captions
        faces = draw(model, captions, options)
        known = captions if captions is not None and captions.speaks else None
        asked = asked_of(known, len(faces), options.seed) if known is not None else Asked(list(faces.prompts))
        if isinstance(reference, SplitImages) and known is not None:
            photographs = reference
    else:
        if real is not None:
            raise UsageError(
                f"{generated} are pictures, whose own prompts are looked at, so nothing is done with {real}; leave it "
                "out (photographs are the ceiling of what a model draws)"
            )
        faces = open_generated(generated or "")
        network = find_clip(None, clip, options.device)
        asked = _asked_of_files(faces, options, prompts)
    result = measure_text(
        network, faces, asked, photographs=photographs, candidates=candidates, seed=options.seed, model=model,
        batch_size=options.batch_size or 32, listener=listener, cache=options.cache,
    )  # fmt: skip
    if result.conditions_model:
        listener.say(f"{network.name} conditions the model: its score flatters; name another with --clip")
    return result


def _asked_of_files(faces: ImageSource, options: Options, prompts: Path | None) -> Asked:
    """What pictures on disk were asked to show."""
    count = options.num or len(faces)
    if count > len(faces):
        raise CelebgenError(f"{faces.label} has {len(faces)} images and {count} were asked for; ask for fewer")
    if prompts is not None:
        return Asked(_lines(prompts, faces, count))
    if isinstance(faces, SplitImages):
        if faces.captions is None:
            raise UsageError(f"{faces.label} has neither attributes nor captions, so there are no texts to score")
        return asked_of(faces.captions, count, options.seed)
    if isinstance(faces, ImageFiles) and faces.kind == "folder":
        try:
            return Asked([str(read_metadata(faces.path / name)["prompt"]) for name in faces.names[:count]])
        except (CelebgenError, KeyError):
            if os.path.isfile(faces.path / "prompts.txt"):
                return Asked(_lines(faces.path / "prompts.txt", faces, count))
    raise UsageError(
        f"the pictures of {faces.label} do not say what they show: give --prompts FILE, one line for each in the order "
        f"of their names{'; nothing but pictures is read from a zip' if faces.kind == 'zip' else ''}"
    )


def _lines(path: Path, faces: ImageSource, count: int) -> list[str]:
    try:
        with path.open("rb") as file:
            lines = [line for _, line in numbered_lines(file, str(path))]
    except OSError as error:
        raise CelebgenError(f"{path} cannot be read ({error.strerror}); give a file of prompts, one a line") from error
    if len(lines) != len(faces):
        raise UsageError(f"{path} has {len(lines)} lines and {faces.label} has {len(faces)} images: they must match")
    return lines[:count]

