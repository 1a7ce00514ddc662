"""The compact CLIP: a small open_clip model trained on pictures and captions of their attributes.

A caption names some attributes, so it is true of many pictures of a batch: every one of them is a positive of the
sigmoid loss (Zhai et al. 2023, arXiv 2303.15343, with many positives). A linear head reads the named attributes back
from the text embedding, which makes every word of the grammar count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import is_true_of, vocabulary
from celebgen_cli.models.presets import CLIPConfig
from celebgen_cli.models.text_encoder import UNKNOWN, CompactText, trained_ids
from celebgen_cli.models.tokenizer import END, tokenizer
from celebgen_cli.training.batches import Examples, batch_rows, captions, numpy_generator, random_flip, torch_generator
from celebgen_cli.training.engine import Task


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


def pairwise_sigmoid_loss(text: Tensor, image: Tensor, positive: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Sigmoid loss with any number of positives.

    text, image: unit vectors [B, d]; positive: bool [B, B], caption i is true of picture j. Positives and negatives of
    a caption weigh the same together, so a caption that is true of one picture in fifty still pulls it.
    """
    logits = scale * text @ image.T + bias
    loss = F.softplus(torch.where(positive, -logits, logits))
    share = positive.float().mean(dim=1, keepdim=True)
    weight = torch.where(positive, 0.5 / share.clamp(min=1e-6), 0.5 / (1 - share).clamp(min=1e-6)).clamp(max=16.0)
    return (loss * weight).mean()


class CLIPTask(Task):
    """Trains `CompactCLIP`; see `celebgen_cli.training.engine.Task`."""

    kind = "clip"

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
        torch.manual_seed(seed)
        self.model = CompactCLIP(config)
        self.module: nn.Module = self.model
        self.token_ids = trained_ids(vocabulary())

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        return [list(self.model.parameters())]

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
        return torch.from_numpy(ids).to(self.device)

    def _images(self, examples: Examples, rows: np.ndarray) -> Tensor:
        images = examples.images(rows, self.device)
        return F.interpolate(images, size=(self.config.image_size,) * 2, mode="area")

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        rows = batch_rows(len(self.train), self.batch_size, step, self.seed)
        rng = numpy_generator(self.seed, step, 0)
        attributes = self.train.attributes(rows)
        texts, named = captions(attributes, rng)
        for i in np.flatnonzero(rng.random(len(texts)) < self.settings.empty):
            texts[i], named[i] = "", 0
        images = random_flip(self._images(self.train, rows), torch_generator(self.seed, step, 1))
        clip = self.model.clip
        pooled = clip.encode_text(self._tokens(texts, rng)).float()
        text, image = F.normalize(pooled, dim=-1), F.normalize(clip.encode_image(images).float(), dim=-1)
        scale, bias = clip.logit_scale.exp().clamp(max=100.0), clip.logit_bias
        if self.settings.contrast == "softmax":
            logits, own = scale * text @ image.T, torch.arange(len(text), device=self.device)
            contrast = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))
        else:
            positive = torch.from_numpy(is_true_of(named[:, None], attributes[None])).to(self.device)
            contrast = pairwise_sigmoid_loss(text, image, positive, scale, bias)
        target = torch.from_numpy(np.concatenate([named > 0, named < 0], axis=1)).float().to(self.device)
        read = F.binary_cross_entropy_with_logits(self.model.read(pooled).float(), target)
        return contrast + self.settings.read_weight * read, {"contrast": contrast.detach(), "read": read.detach()}

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        figures = self.measure(ema, captions_count=1024, images_count=512)
        return {**figures, "score": -figures["probe_f1"]}

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Nothing to draw: this network makes no pictures."""

    def measure(self, ema: nn.Module, captions_count: int = 8192, images_count: int = 1000) -> dict[str, float]:
        """Held-out figures of the text embedding and of retrieval.

        probe_f1: micro F1 of a linear probe (ridge regression on `captions_count` training captions) that reads from
        the pooled vector of held-out phrasings, never drawn in training, which attributes they say are there or not.
        recall_at_10: share of held-out captions whose own picture is among the 10 nearest of `images_count`.
        precision_at_10: share of the 10 nearest pictures of which the caption is true; `precision_chance` by luck.
        """
        encoder = compact_text(ema, self.config, self.token_ids).to(self.device)
        count = min(captions_count, 40 * len(self.train))
        rng = numpy_generator(self.seed, 0, 90)
        fit_text, fit_named = captions(self.train.attributes(rng.integers(0, len(self.train), count)), rng)
        seen = set(fit_text)
        rng = numpy_generator(self.seed, 0, 91)
        test_text, test_named = captions(self.held_out.attributes(rng.integers(0, len(self.held_out), count // 2)), rng)
        fresh = [i for i, text in enumerate(test_text) if text not in seen]
        test_text, test_named = [test_text[i] for i in fresh], test_named[fresh]
        f1 = _probe_f1(_pooled(encoder, fit_text), fit_named, _pooled(encoder, test_text), test_named)

        rows = np.arange(min(images_count, len(self.held_out)))
        attributes = self.held_out.attributes(rows)
        texts, named = captions(attributes, numpy_generator(self.seed, 0, 92))
        clip = ema.clip  # type: ignore[union-attr]
        clip.eval()  # type: ignore[union-attr,operator]
        vectors = [
            clip.encode_image(self._images(self.held_out, chunk)).float()  # type: ignore[union-attr,operator]
            for chunk in np.array_split(rows, max(1, len(rows) // 128))
        ]
        image = F.normalize(torch.cat(vectors), dim=-1).cpu()
        scores = F.normalize(_pooled(encoder, texts), dim=-1) @ image.T
        nearest = scores.topk(min(10, len(rows)), dim=1).indices.numpy()
        true = is_true_of(named[:, None], attributes[None])
        return {
            "probe_f1": f1,
            "recall_at_10": float((nearest == rows[:, None]).any(axis=1).mean()),
            "precision_at_10": float(np.take_along_axis(true, nearest, axis=1).mean()),
            "precision_chance": float(true.mean()),
        }


def compact_text(model: nn.Module, config: CLIPConfig, token_ids: Sequence[int]) -> CompactText:
    """The text tower of a trained `CompactCLIP`, with the rows of `token_ids` of its token table."""
    state = {k: v.detach().float().cpu() for k, v in model.clip.text.state_dict().items()}  # type: ignore[union-attr]
    return CompactText.from_open_clip(state, config, token_ids).eval()


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
