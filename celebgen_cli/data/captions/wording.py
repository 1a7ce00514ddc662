"""Where a picture's caption comes from: the grammar, the user's files, or both in a stated proportion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from celebgen_cli.data.captions.grammar import describe, is_true_of
from celebgen_cli.errors import UsageError

if TYPE_CHECKING:
    from celebgen_cli.data.dataset import Split
    from celebgen_cli.data.texts import StoredTexts

SOURCES = ("grammar", "files", "both")


@dataclass(frozen=True)
class Wording:
    """Where captions come from.

    Attributes:
        source: "grammar": made from the attributes; "files": the picture's own, one of them at random; "both".
        files_share: with "both", the share of draws that take a caption from the files.

    A picture that has not what is asked for takes the other, and one that has neither the empty caption.
    """

    source: str = "grammar"
    files_share: float = 0.5

    @property
    def share(self) -> float:
        """The share of draws that take a caption from the files where a picture could have either."""
        return {"grammar": 0.0, "files": 1.0}.get(self.source, self.files_share)


class Captions(NamedTuple):
    """Captions of B pictures.

    texts: one each.
    named: int8 [B, 40], what each names of the attributes (see `grammar.Caption`); all 0 where it comes from a file,
        for nobody knows what it names.
    stored: bool [B], whether it comes from a file.
    """

    texts: list[str]
    named: np.ndarray
    stored: np.ndarray


def attributes_known(attributes: np.ndarray) -> np.ndarray:
    """Which rows of int8 [N, 40] the grammar can speak of: those without an unknown attribute (0); bool [N]."""
    return np.asarray((np.asarray(attributes) != 0).all(axis=1))


@dataclass(frozen=True)
class CaptionSource:
    """What the captions of a split can be made of, and how they are to be made.

    Attributes:
        attributes: int8 [N, 40], -1, 1, or 0 for unknown.
        stored: the captions of each row out of the user's files, or None.
        wording: which of the two is taken.
    """

    attributes: np.ndarray
    stored: StoredTexts | None = None
    wording: Wording = Wording()
    known: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", attributes_known(self.attributes))

    def __len__(self) -> int:
        return len(self.attributes)

    @property
    def speaks(self) -> bool:
        """Whether there is a caption for any row."""
        return bool(self.known.any()) or (self.stored is not None and self.stored.total > 0)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> Captions:
        """One caption for each of these rows [B].

        A function of the rows and the generator's state. Where files have a say, each position of the batch has a
        generator of its own: its caption does not depend on what the other positions are given. Without stored or
        unknown rows one generator words all captions, in order.
        """
        if self.known.all() and (self.stored is None or self.wording.share == 0.0):
            drawn = [describe(self.attributes[row], rng) for row in rows]
            named = np.stack([caption.named for caption in drawn]) if drawn else np.zeros((0, 40), dtype=np.int8)
            return Captions([caption.text for caption in drawn], named, np.zeros(len(drawn), dtype=bool))
        key = int(rng.integers(2**63))
        return self._each(rows, (np.random.default_rng((key, position)) for position in range(len(rows))))

    def draw_for(self, count: int, seed: int) -> list[str]:
        """`count` texts, the i-th for row i modulo N and worded with the random state (seed, i)."""
        return self.captions_for(count, seed).texts

    def captions_for(self, count: int, seed: int) -> Captions:
        """The captions whose texts are `draw_for`'s."""
        rows = np.arange(count) % len(self.attributes)
        return self._each(rows, (np.random.default_rng((seed, i)) for i in range(count)))

    def _each(self, rows: np.ndarray, generators: Iterable[np.random.Generator]) -> Captions:
        texts, named = [], np.zeros((len(rows), 40), dtype=np.int8)
        from_file = np.zeros(len(rows), dtype=bool)
        share = self.wording.share
        for i, (row, rng) in enumerate(zip(rows.tolist(), generators, strict=True)):
            own = self.stored.of(row) if self.stored is not None else ()
            known = bool(self.known[row])
            if own and (not known or share == 1.0 or (share > 0.0 and rng.random() < share)):
                texts.append(own[int(rng.integers(len(own)))])
                from_file[i] = True
            elif known:
                caption = describe(self.attributes[row], rng)
                texts.append(caption.text)
                named[i] = caption.named
            else:
                texts.append("")
        return Captions(texts, named, from_file)


def choose_wording(split: Split, source: str | None = None, files_share: float | None = None) -> Wording:
    """The wording that is asked for, or what suits a split: the grammar where any attributes are known, else files.

    Args:
        split: a split of a prepared dataset.
        source: one of `SOURCES`, or None.
        files_share: of "both", more than 0 and less than 1; None is a half.

    Raises:
        UsageError: an unknown source, a share without "both" or out of range, or the split has not what is needed.
    """
    if source is not None and source not in SOURCES:
        raise UsageError(f"--captions is grammar, files or both, not '{source}'")
    has_files = split.captions is not None and split.captions.total > 0
    has_attributes = bool(attributes_known(split.attributes).any())
    if not has_files and not has_attributes:
        raise UsageError(
            f"the {split.name} split has neither attributes nor captions, so there is nothing to tell its pictures "
            "apart by; prepare it again with annotations, or with captions beside the images"
        )
    chosen = source or ("grammar" if has_attributes else "files")
    if files_share is not None:
        if chosen != "both":
            raise UsageError("--files-share is the share of captions from files with --captions both; give both")
        if not 0 < files_share < 1:
            raise UsageError(f"--files-share must be more than 0 and less than 1, not {files_share}")
    if chosen in ("files", "both") and not has_files:
        raise UsageError(f"the {split.name} split has no captions from files; leave out --captions {chosen}")
    if chosen in ("grammar", "both") and not has_attributes:
        raise UsageError(f"the attributes of the {split.name} split are not known; use --captions files")
    return Wording(chosen, 0.5 if files_share is None else files_share)


def truth(captions: Captions, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which captions of a batch are true of which of its pictures, and of which pairs that counts.

    A caption made from attributes is true of every picture that it does not contradict; nobody knows whether it is true
    of a picture whose attributes are unknown, so that pair does not count, unless it is the empty caption. One from a
    file is true of its own picture and of those whose caption says the same, and is taken to be false of the others, as
    is usual for captions that people wrote: if these pairs did not count, nothing would push such a caption away from
    any picture.

    Args:
        captions: of the batch's pictures, in their order.
        attributes: int8 [B, 40] of the pictures, -1, 1, or 0 for unknown.

    Returns:
        true bool [B, B] (caption, picture), and counts bool [B, B]; a pair that does not count is not true.
    """
    true: np.ndarray = is_true_of(captions.named[:, None], attributes[None])
    known = attributes_known(attributes)
    if known.all() and not captions.stored.any():
        return true, np.ones_like(true)
    says_something = (captions.named != 0).any(axis=1)
    counts = ~says_something[:, None] | known[None]
    texts = np.unique(np.array(captions.texts), return_inverse=True)[1]
    same = texts[:, None] == texts[None]
    either = captions.stored[:, None] | captions.stored[None]
    true = np.where(captions.stored[:, None], same, true) | (same & either)
    counts = counts | captions.stored[:, None] | same
    return true & counts, counts
