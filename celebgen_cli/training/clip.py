"""The compact CLIP: a small open_clip model trained on pictures and captions of their attributes.

A caption names some attributes, so it is true of many pictures of a batch: every one of them is a positive of the
sigmoid loss (Zhai et al. 2023, arXiv 2303.15343, with many positives). A linear head reads the named attributes back
from the text embedding, which makes every word of the grammar count. A caption from
people's own files has its own picture for a positive, and teaches the head nothing: nobody knows what it names.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import Captions, truth, vocabulary
from celebgen_cli.models.presets import CLIPConfig
from celebgen_cli.models.text_encoder import UNKNOWN, CompactText, trained_ids
from celebgen_cli.models.tokenizer import END, tokenizer
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    mirrored,
    numpy_generator,
    random_sides,
    torch_generator,
)
from celebgen_cli.training.distributed import all_rows
from celebgen_cli.training.engine import Task
from celebgen_cli.training.parts import Part


@dataclass(frozen=True)
class CLIPLossConfig:
    """Weights and rates of the compact CLIP's training."""

    read_weight: float = 20.0  # of the loss that reads the named attributes, a mean over 80 mostly silent outputs
    insert: float = 0.3  # share of captions into which unknown tokens are put: they must change nothing
    replace: float = 0.02  # share of tokens that become unknown
    empty: float = 0.02  # share of captions that say nothing, and are true of every picture
    contrast: str = "sigmoid"  # "softmax": plain ClipLoss, the baseline: the only positive is the caption's own picture


class CompactCLIP(nn.Module):
    """An open_clip model from a small configuration, and the head that reads attributes from its text embedding."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

        self.clip = CustomTextCLIP(
            config.embed_dim,
            CLIPVisionCfg(layers=config.image_layers, width=config.image_width, image_size=config.image_size),
            CLIPTextCfg(
                context_length=config.context_length, width=config.width, heads=config.heads, layers=config.layers
            ),
            init_logit_scale=float(np.log(10.0)),
            init_logit_bias=-5.0,
        )
        self.read = nn.Linear(config.embed_dim, 2 * len(ATTRIBUTES))  # said to be there, said not to be there


def pairwise_sigmoid_loss(
    text: Tensor, image: Tensor, positive: Tensor, scale: Tensor, bias: Tensor, counts: Tensor | None = None
) -> Tensor:
    """Sigmoid loss with any number of positives.

    text, image: unit vectors [B, d]; positive: bool [B, B], caption i is true of picture j; counts: bool [B, B],
    whether that is known (None: always). Positives and negatives of a caption weigh the same together, so that one that
    is true of one picture in fifty still pulls it; and captions weigh the same, whatever is known of them.
    """
    logits = scale * text @ image.T + bias
    loss = F.softplus(torch.where(positive, -logits, logits))
    share = positive.float().mean(dim=1, keepdim=True)
    known = torch.ones_like(share) if counts is None else counts.float().mean(dim=1, keepdim=True).clamp(min=1e-6)
    if counts is not None:
        share = share / known
    weight = torch.where(positive, 0.5 / share.clamp(min=1e-6), 0.5 / (1 - share).clamp(min=1e-6)).clamp(max=16.0)
    if counts is not None:
        weight = torch.where(counts, weight / known, 0.0)
    return (loss * weight).mean()


class CLIPTask(Task):
    """Trains `CompactCLIP`; see `celebgen_cli.training.engine.Task`."""

    kind = "clip"
    coupled = True  # every caption is compared with every picture

    def __init__(
        self,
        config: CLIPConfig,
        train: Examples,
        held_out: Examples,
        batch_size: int,
        seed: int,
        loss: CLIPLossConfig | None = None,
    ) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self.batch_size, self.seed = batch_size, seed
        self.settings = loss or CLIPLossConfig()
        self.idle = self.settings.contrast == "softmax"  # which has no use for the bias
        torch.manual_seed(seed)
        self.model = CompactCLIP(config)
        self.module: nn.Module = self.model
        self.token_ids = trained_ids(_words(train))

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        return [list(self.model.parameters())]

    def networks(self) -> Sequence[nn.Module]:
        clip = self.model.clip
        return [clip.text, clip.visual, self.model.read]  # what encode_text and encode_image call

    @property
    def device(self) -> torch.device:
        return self.model.read.weight.device

    def _tokens(self, texts: Sequence[str], rng: np.random.Generator) -> Tensor:
        """Token ids with unknown words put in and some tokens made unknown, so that neither harms later."""
        ids = tokenizer()(texts, self.config.context_length).numpy()
        for row in ids:
            end = int(row.argmax())
            drop = rng.random(end) < self.settings.replace
            drop[0] = False
            row[:end][drop] = UNKNOWN
            if rng.random() < self.settings.insert and end + 3 < len(row):
                for _ in range(int(rng.integers(1, 4))):
                    at = int(rng.integers(1, end + 1))
                    row[at + 1 : end + 2] = row[at : end + 1].copy()
                    row[at] = UNKNOWN
                    end += 1
                assert row[end] == END
        return torch.from_numpy(ids)

    def _images(self, examples: Examples, rows: np.ndarray) -> Tensor:
        images = examples.images(rows, self.device)
        return F.interpolate(images, size=(self.config.image_size,) * 2, mode="area")

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """A part must be this process's own: what it shows and says meets the other processes' parts."""
        part = part or Part(0, self.batch_size)
        rows = batch_rows(len(self.train), self.batch_size, step, self.seed)
        rng = numpy_generator(self.seed, step, 0)
        drawn = self.train.captions(rows, rng)
        texts, named, stored = drawn
        for i in np.flatnonzero(rng.random(len(texts)) < self.settings.empty):
            texts[i], named[i], stored[i] = "", 0, False
        sides = random_sides(len(rows), torch_generator(self.seed, step, 1))
        images = mirrored(self._images(self.train, part.of(rows)), part.of(sides))
        clip = self.model.clip
        pooled = clip.encode_text(part.of(self._tokens(texts, rng)).to(self.device)).float()
        text, image = F.normalize(pooled, dim=-1), F.normalize(clip.encode_image(images).float(), dim=-1)
        if part.count < len(rows):
            text, image = all_rows(text), all_rows(image)
        scale, bias = clip.logit_scale.exp().clamp(max=100.0), clip.logit_bias
        if self.settings.contrast == "softmax":
            logits, own = scale * text @ image.T, torch.arange(len(text), device=self.device)
            contrast = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))
        else:
            true, counted = truth(drawn, self.train.attributes(rows))
            positive, counts = (torch.from_numpy(pairs).to(self.device) for pairs in (true, counted))
            contrast = pairwise_sigmoid_loss(text, image, positive, scale, bias, None if counted.all() else counts)
        read = self._read_loss(pooled, named, stored, part)
        return contrast + self.settings.read_weight * read, {"contrast": contrast.detach(), "read": read.detach()}

    def _read_loss(
        self, pooled: Tensor, named: np.ndarray, stored: np.ndarray, part: Part | None = None
    ) -> Tensor:
        """How badly the head reads what captions name; those from files, of which that is not known, are left out.

        pooled is of the rows of `part`, the rest of the whole batch: a part's loss is its share of the batch's mean.
        """
        part = part or Part(0, len(stored))
        told_in_all, share, plain = int((~stored).sum()), part.count / len(stored), not stored.any()
        named, stored = part.of(named), part.of(stored)
        target = torch.from_numpy(np.concatenate([named > 0, named < 0], axis=1)).float().to(self.device)
        logits = self.model.read(pooled).float()
        if plain:
            return F.binary_cross_entropy_with_logits(logits, target)
        told = torch.from_numpy(~stored).to(self.device)[:, None]
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return torch.where(told, loss, 0.0).sum() / max(1.0, told_in_all * share * target.shape[1])

    def rows(self, step: int) -> Sequence[int]:
        examples = self.train
        return examples.rows[batch_rows(len(examples), self.batch_size, step, self.seed)].tolist()

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        figures = self.measure(ema, captions_count=1024, images_count=512)
        return {**figures, "score": -figures.get("probe_f1", figures["recall_at_10"])}

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Nothing to draw: this network makes no pictures."""

    def measure(self, ema: nn.Module, captions_count: int = 8192, images_count: int = 1000) -> dict[str, float]:
        """Held-out figures of the text embedding and of retrieval.

        probe_f1: micro F1 of a linear probe (ridge regression on `captions_count` training captions) that reads from
        the pooled vector of held-out phrasings, never drawn in training, which attributes they say are there or not.
        recall_at_10: share of held-out captions whose own picture is among the 10 nearest of `images_count`.
        precision_at_10: share of the 10 nearest pictures of which the caption is true; `precision_chance` by luck.

        The probe is left out where all captions come from files, for nobody knows what they name.
        """
        encoder = compact_text(ema, self.config, self.token_ids).to(self.device)
        count = min(captions_count, 40 * len(self.train))
        rng = numpy_generator(self.seed, 0, 90)
        fit_text, fit_named = _naming(self.train.captions(rng.integers(0, len(self.train), count), rng))
        rng = numpy_generator(self.seed, 0, 91)
        test = self.held_out.captions(rng.integers(0, len(self.held_out), count // 2), rng)
        test_text, test_named = _naming(test, but=set(fit_text))
        figures = {}
        if fit_text and test_text:
            fit_pooled, test_pooled = _pooled(encoder, fit_text), _pooled(encoder, test_text)
            figures["probe_f1"] = _probe_f1(fit_pooled, fit_named, test_pooled, test_named)

        rows = np.arange(min(images_count, len(self.held_out)))
        drawn = self.held_out.captions(rows, numpy_generator(self.seed, 0, 92))
        clip = ema.clip
        clip.eval()  # type: ignore[union-attr]
        vectors = [
            clip.encode_image(self._images(self.held_out, chunk)).float()  # type: ignore[union-attr,operator]
            for chunk in np.array_split(rows, max(1, len(rows) // 128))
        ]
        image = F.normalize(torch.cat(vectors), dim=-1).cpu()
        scores = F.normalize(_pooled(encoder, drawn.texts), dim=-1) @ image.T
        nearest = scores.topk(min(10, len(rows)), dim=1).indices.numpy()
        true, _ = truth(drawn, self.held_out.attributes(rows))
        return {
            **figures,
            "recall_at_10": float((nearest == rows[:, None]).any(axis=1).mean()),
            "precision_at_10": float(np.take_along_axis(true, nearest, axis=1).mean()),
            "precision_chance": float(true.mean()),
        }


def compact_text(model: nn.Module, config: CLIPConfig, token_ids: Sequence[int]) -> CompactText:
    """The text tower of a trained `CompactCLIP`, with the rows of `token_ids` of its token table."""
    state = {k: v.detach().float().cpu() for k, v in model.clip.text.state_dict().items()}  # type: ignore[union-attr]
    return CompactText.from_open_clip(state, config, token_ids).eval()


def _words(train: Examples) -> list[str]:
    """What captions of the training rows can be made of: the grammar's vocabulary, and the words of stored captions."""
    stored = train.source.stored
    if stored is None or (train.source.wording.share == 0.0 and train.source.known[train.rows].all()):
        return vocabulary()
    words = set(vocabulary())
    for row in train.rows.tolist():
        for text in stored.of(row):
            # the tokenizer mends what is not plain by looking at the whole text
            words.update(text.lower().split() if text.isascii() and "&" not in text else [text])
    return sorted(words)


def _naming(drawn: Captions, but: Set[str] = frozenset()) -> tuple[list[str], np.ndarray]:
    """The captions that name attributes for certain, without those in `but`, and what they name [N, 40]."""
    kept = [i for i, text in enumerate(drawn.texts) if drawn.named[i].any() and text not in but]
    return [drawn.texts[i] for i in kept], drawn.named[kept]


def _pooled(encoder: CompactText, texts: Sequence[str]) -> Tensor:
    """Pooled vectors [N, p] on the CPU."""
    with torch.no_grad():
        parts = [encoder(texts[i : i + 256]).pooled.float().cpu() for i in range(0, len(texts), 256)]
    return torch.cat(parts)


def _probe_f1(fit: Tensor, fit_named: np.ndarray, test: Tensor, test_named: np.ndarray) -> float:
    """Micro F1 of ridge regression from embeddings [N, p] to what captions name [N, 40] in -1/0/1."""
    mean, std = fit.mean(0), fit.std(0) + 1e-6

    def design(x: Tensor) -> Tensor:
        return torch.cat([(x - mean) / std, torch.ones(len(x), 1)], dim=1).double()

    def labels(named: np.ndarray) -> Tensor:
        return torch.from_numpy(np.concatenate([named > 0, named < 0], axis=1)).double()

    x = design(fit)
    ridge = 1e-3 * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ labels(fit_named))
    said, read = labels(test_named) > 0.5, design(test) @ weights > 0.5
    hits = float((said & read).sum())
    return 2 * hits / max(1.0, float(said.sum() + read.sum()))
