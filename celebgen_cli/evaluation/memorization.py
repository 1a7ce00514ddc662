"""Whether a model copies its training pictures, and whether the faces of one prompt differ: `evaluate memorization`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.copying import Space, measure_copying
from celebgen_cli.evaluation.diversity import Diversity, feature_distance, lpips_distance, measure_diversity
from celebgen_cli.evaluation.features import FeatureExtractor, find_inception_weights
from celebgen_cli.evaluation.neighbours import Latents, Pixels
from celebgen_cli.evaluation.options import Listener, Options
from celebgen_cli.evaluation.similarity import find_lpips
from celebgen_cli.evaluation.sources import ImageSource, open_images, open_split, pixels, split_name
from celebgen_cli.evaluation.subjects import draw, is_model, open_generated, open_model
from celebgen_cli.images import refuse_foreign

if TYPE_CHECKING:
    from celebgen_cli.pipeline import Model

SPACES = ("inception", "latent", "pixels")
"""Names of the feature spaces."""


@dataclass(frozen=True)
class MemorizationResult:
    """What was found in each space, and how different the faces of one prompt are.

    Attributes:
        spaces: figures by the name of the space.
        diversity: of faces of one prompt, or None where no model drew them.
        n, n_train, n_held_out: pictures of each set. seed: of the first face.
        generated, train, held_out: what they are. pairs: the file with the closest pairs, if asked for.
        warnings: sentences about what the figures cannot show.
    """

    spaces: dict[str, Space]
    diversity: Diversity | None
    n: int
    n_train: int
    n_held_out: int
    seed: int
    generated: dict[str, Any]
    train: str
    held_out: str
    pairs: str | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def evaluate_memorization(
    generated: str | None,
    train: str | None,
    options: Options,
    *,
    held_out: str | None = None,
    train_count: int | None = None,
    held_out_count: int | None = None,
    chosen: Sequence[str] = (),
    pairs: Path | None = None,
    diversity: bool = True,
    lpips_weights: Path | None = None,
    listener: Listener | None = None,
) -> MemorizationResult:
    """Compare what a word names with a training set.

    Args:
        generated: a model (None: the one in the box), which draws for captions of the held-out side; a folder or zip.
        train: `DATASET[:split]`, the train split by default; None is that of `$CELEBGEN_DATASET`.
        held_out: photographs that were not trained on; None is the valid split of that dataset, else of
            `$CELEBGEN_DATASET`.
        train_count, held_out_count: the first so many of each; None is all.
        chosen: names of `SPACES`; none takes Inception's where its weights are here and the CVAE's, else the CVAE's
            and pixels.
        pairs: PNG for the closest pairs. diversity: whether faces of one prompt are compared, where a model draws.

    Raises:
        UsageError: a word names nothing that can be compared, or a space has no such name.
        CelebgenError: images or weights are missing or damaged.
    """
    listener = listener or Listener()
    refuse_foreign("--pairs", [pairs] if pairs else [])
    searched, known = _photographs(train, held_out)
    if searched.fingerprint() == known.fingerprint():
        raise UsageError(
            f"the held-out photographs {known.label} are the training set itself, from which no copy can be told; name "
            "others with --held-out"
        )
    model = open_model(generated if is_model(generated) else None, options)
    faces = draw(model, known.captions, options) if is_model(generated) else open_generated(generated or "")
    for side in (known, faces):
        if side.size != searched.size:
            raise UsageError(
                f"the pictures of {side.label} are {pixels(side)} and those of {searched.label} {pixels(searched)}: "
                "they must match"
            )
    warnings = []
    trained_on = dict(model.info.get("data") or {}).get("fingerprint") if is_model(generated) else None
    if trained_on is not None and trained_on != searched.fingerprint():
        warnings.append(f"{model.name} was trained on another set than {searched.label}: what it copied may be there")
    if train_count is not None and train_count < len(searched):
        warnings.append(f"only {train_count} of {len(searched)} training pictures were searched")
    spaces = _spaces(chosen, model, searched, options, listener)
    figures, sizes = measure_copying(
        spaces, faces, searched, known, count=options.num, train_count=train_count, held_out_count=held_out_count,
        batch_size=options.batch_size or 32, pairs=pairs, listener=listener, cache=options.cache,
    )  # fmt: skip
    if twice := max(space.held_out_copies for space in figures.values()):
        warnings.append(
            f"{twice} of the {sizes[2]} held-out photographs are in the training set too: copies look better than they "
            "are"
        )
    if sizes[2] < 99:
        warnings.append(
            f"{sizes[2]} held-out photographs are few: of faces that copy nothing, 1 in {sizes[2] + 1} is nearer than "
            "all of them, not 1 in 100"
        )
    if sizes[0] < 1000:
        warnings.append(f"1 % of {sizes[0]} faces are few: the 1 % quantiles are rough")
    different = None
    if diversity and is_model(generated) and searched.captions is not None:
        network = find_lpips(lpips_weights, options.device)
        distance = lpips_distance(network) if network else feature_distance(Latents(model))
        different = measure_diversity(
            model, searched, searched.captions, distance, "LPIPS, AlexNet" if network else "CVAE latents, RMS",
            settings=options.sampling, first_seed=options.seed, progress=listener.progress("faces of one prompt"),
        )  # fmt: skip
    return MemorizationResult(
        spaces=figures,
        diversity=different,
        n=sizes[0],
        n_train=sizes[1],
        n_held_out=sizes[2],
        seed=options.seed,
        generated={"source": faces.label, "kind": faces.kind, "n": sizes[0], "size": faces.size, "crop": faces.crop,
                   "settings": faces.settings()},
        train=searched.label,
        held_out=known.label,
        pairs=None if pairs is None else str(pairs),
        warnings=tuple(warnings),
    )  # fmt: skip


def parted(words: Sequence[str]) -> tuple[str | None, str | None]:
    """GENERATED and TRAIN out of at most two words; a dataset alone is TRAIN, anything else alone GENERATED.

    Raises:
        UsageError: there are more.
    """
    if len(words) > 2:
        raise UsageError(f"memorization takes GENERATED and TRAIN, not {len(words)} words")
    if len(words) == 1:
        alone = (split_name(words[0])[0] / "dataset.json").is_file()
        return (None, words[0]) if alone else (words[0], None)
    return (words[0], words[1]) if words else (None, None)


def _photographs(train: str | None, held_out: str | None) -> tuple[ImageSource, ImageSource]:
    """The training set and the held-out one."""
    default = os.environ.get(compare.DATASET_VARIABLE)
    if train is None and default is None:
        raise UsageError(f"name the training set, DATASET[:SPLIT], or set ${compare.DATASET_VARIABLE}")
    path, split = split_name(train or str(default), "train")
    searched: ImageSource = (
        open_split(path, split) if (path / "dataset.json").is_file() else open_images(train or str(default))
    )
    if held_out is not None:
        return searched, open_images(held_out)
    for place in (path, Path(default) if default else None):
        if place is None or not (place / "dataset.json").is_file() or "valid" not in open_dataset(place).splits:
            continue
        found = open_split(place, "valid")
        if found.fingerprint() != searched.fingerprint():
            return searched, found
    raise UsageError(f"{searched.label} has no valid split beside it: name photographs it lacks with --held-out")


def _spaces(
    chosen: Sequence[str], model: Model, pictures: ImageSource, options: Options, listener: Listener
) -> dict[str, FeatureExtractor]:
    """The extractors of the spaces that were chosen, or of the two that suit what is on this machine."""
    for name in chosen:
        if name not in SPACES:
            raise UsageError(f"--space is one of {', '.join(SPACES)}, not '{name}'")
    names = list(dict.fromkeys(chosen))
    fits = model.size == pictures.size
    if not names:
        names = [name for name, there in (
            ("inception", find_inception_weights(options.inception_weights) is not None), ("latent", fits),
            ("pixels", True),
        ) if there][:2]  # fmt: skip
        if "inception" not in names:
            listener.say("Inception's features are left out: no weights are here (--inception-weights FILE)")
    if "latent" in names and not fits:
        raise UsageError(f"{model.name} is for {model.size} px and pictures are {pixels(pictures)}: leave out latent")
    out: dict[str, FeatureExtractor] = {}
    for name in names:
        if name == "inception":
            out[name] = compare.load_extractor(options, listener)
        else:
            out[name] = Latents(model) if name == "latent" else Pixels()
    return out
