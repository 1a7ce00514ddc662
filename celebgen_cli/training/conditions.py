"""What the frozen networks say of captions while the denoiser is trained: text features and p(z|c).

Captions out of people's files come back in every epoch, so all of them are looked at once, with the first step, and
what was said of them is kept beside the U-Net. What attributes are worded into hardly ever comes back and is not kept
(`docs/decisions.md` has the figures). The table is made anew by every process from the networks that it has in memory,
always in the same batches: it can be neither stale nor, after a resume, another one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from celebgen_cli.models.cvae import Prior
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.processes import world
from celebgen_cli.training.batches import Examples, fits

BATCH = 64
ROOM = 2**30  # bytes of a computer's own memory, for the tables of all its processes

Said = tuple[TextFeatures, Gaussian]


def captions_that_come_back(examples: Examples) -> list[str]:
    """The distinct captions out of files that a batch may be given, and the text that says nothing; else none."""
    source = examples.source
    if source.stored is None or (source.wording.share == 0.0 and source.known[examples.rows].all()):
        return []
    found = {text for row in examples.rows.tolist() for text in source.stored.of(row)}
    return ["", *sorted(found - {""})] if found else []


class Conditions:
    """Text features and p(z|c) of texts, without gradients.

    Args:
        text, prior: frozen networks in evaluation mode.
        known: texts to look at once and to keep, where there is room for them: on a GPU a share of what is free, else
            `ROOM` bytes.
    """

    def __init__(self, text: TextEncoder, prior: Prior, known: Sequence[str] = ()) -> None:
        self.text, self.prior = text, prior
        self._rows = {name: row for row, name in enumerate(known)}
        self._table: Said | None = None

    def __call__(self, texts: Sequence[str]) -> Said:
        """Of B texts, in their order."""
        with torch.no_grad():
            if self._rows and self._table is None:
                self._table = self._look_at_all(list(self._rows))
            if self._table is None:
                return self._look_at(texts)
            return self._remembered(self._table, texts)

    @property
    def keeps(self) -> int:
        """How many texts are kept."""
        return 0 if self._table is None else len(self._rows)

    def _look_at(self, texts: Sequence[str]) -> Said:
        features = self.text(list(texts))
        return features, self.prior(features)

    def _look_at_all(self, texts: list[str]) -> Said | None:
        """All of them, or None, and none is kept, where there is no room."""
        longest = max(texts, key=len)
        one = sum(part.nbytes for said in self._look_at([longest]) for part in said)
        device = self.prior.queries.device
        room = fits(len(texts) * one, device) if device.type == "cuda" else len(texts) * one <= ROOM // world().size
        if not room:
            self._rows = {}
            return None
        parts = [self._look_at(texts[first : first + BATCH]) for first in range(0, len(texts), BATCH)]
        return _joined(parts)

    def _remembered(self, table: Said, texts: Sequence[str]) -> Said:
        known = [text for text in texts if text in self._rows]
        new = sorted({text for text in texts if text not in self._rows})
        rows = torch.tensor([self._rows[text] for text in known], dtype=torch.long, device=table[0].pooled.device)
        said = table[0].select(rows), Gaussian(*(part[rows] for part in table[1]))
        if new:
            said = _joined([said, self._look_at(new)])
            where, at = {text: len(known) + i for i, text in enumerate(new)}, iter(range(len(known)))
            order = torch.tensor([where[text] if text in where else next(at) for text in texts], device=rows.device)
            said = said[0].select(order), Gaussian(*(part[order] for part in said[1]))
        features = said[0]
        length = int(features.mask.sum(dim=1).max())
        return TextFeatures(features.tokens[:, :length], features.mask[:, :length], features.pooled), said[1]


def _joined(parts: Sequence[Said]) -> Said:
    """Rows of all parts, one after the other; tokens are filled up with zeros, which their mask hides."""
    length = max(features.tokens.shape[1] for features, _ in parts)

    def filled(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, length - x.shape[1]) if x.ndim == 3 else (0, length - x.shape[1]))

    features = TextFeatures(
        torch.cat([filled(features.tokens) for features, _ in parts]),
        torch.cat([filled(features.mask) for features, _ in parts]),
        torch.cat([features.pooled for features, _ in parts]),
    )
    return features, Gaussian(*(torch.cat(part) for part in zip(*(prior for _, prior in parts), strict=True)))
