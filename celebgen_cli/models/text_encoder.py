"""Text encoders: prompts in, all tokens and the pooled vector out.

`CompactText` is the text tower of our own small CLIP, readable without open_clip; `OpenClipText` wraps any model that
open_clip knows. Both are frozen everywhere but in `train-clip`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.errors import CelebgenError, first_line
from celebgen_cli.models.devices import sent
from celebgen_cli.models.layers import TextFeatures
from celebgen_cli.models.presets import CLIPConfig
from celebgen_cli.models.sizes import sizes_from
from celebgen_cli.models.tokenizer import END, START, VOCABULARY_SIZE, tokenizer

UNKNOWN = 49405  # the id that stands for words never seen: the rarest merge of the vocabulary, trained as a blank

_WORDS = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[^\w\s!-/:-@\[-`{-~“”„‘’«»…–—]+")
"""Words, and signs that are no punctuation."""


class TextEncoder(nn.Module):
    """Common face: `width` of a token, `pooled_width`, `source` (which encoder this is) and `forward(prompts)`."""

    width: int
    pooled_width: int
    source: str

    def forward(self, prompts: Sequence[str]) -> TextFeatures:
        raise NotImplementedError

    def description(self) -> dict[str, Any]:
        """What model.json says of this encoder: enough to build it again."""
        raise NotImplementedError


def _mask(ids: Tensor) -> Tensor:
    """bool [B, L]: True up to and with the end-of-text token, which has the highest id in CLIP's own vocabulary."""
    return torch.arange(ids.shape[1], device=ids.device)[None] <= ids.argmax(dim=1)[:, None]


def _mask_without(pad: int | None, end: int | None, ids: Tensor) -> Tensor:
    """bool [B, L]: False where `pad` fills up; the first one is kept where it is the end-of-text token as well."""
    if pad is None:
        return torch.ones_like(ids, dtype=torch.bool)
    real = ids != pad
    return real if pad != end else real | (torch.cumsum(~real, dim=1) == 1) & ~real


class CompactText(TextEncoder):
    """The text tower of a compact CLIP: pre-norm causal transformer (Radford et al. 2021, section 2.4).

    Its parameters have the names and shapes of open_clip's `TextTransformer`, but for the token table, of which only
    the rows that training touched are kept (`ids` [K] and K + 1 rows, the last one for every other word).
    """

    ids: Tensor
    _row_of: Tensor

    def __init__(self, config: CLIPConfig, ids: Iterable[int]) -> None:
        super().__init__()
        if config.heads < 1 or config.width % config.heads:
            raise ValueError(f"a width of {config.width} cannot be shared by {config.heads} heads")
        self.config = config
        self.width, self.pooled_width, self.source = config.width, config.embed_dim, "compact"
        ids = sorted(set(ids))
        self.register_buffer("ids", torch.tensor(ids, dtype=torch.int32))
        row_of = torch.full((VOCABULARY_SIZE,), len(ids))
        row_of[torch.tensor(ids)] = torch.arange(len(ids))
        self.register_buffer("_row_of", row_of, persistent=False)
        self.token_embedding = nn.Embedding(len(ids) + 1, config.width)
        self.positional_embedding = nn.Parameter(torch.zeros(config.context_length, config.width))
        self.blocks = nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.layers))
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.zeros(config.width, config.embed_dim))

    @property
    def device(self) -> torch.device:
        return self.ln_final.weight.device

    def forward(self, prompts: Sequence[str]) -> TextFeatures:
        ids = tokenizer()(prompts, self.config.context_length)
        # causal: what follows the end changes nothing
        ids = sent(ids[:, : int(ids.argmax(dim=1).max()) + 1], self.device)
        x = self.token_embedding(self._row_of[ids]) + self.positional_embedding[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.ln_final(x)
        pooled = x[torch.arange(len(x), device=x.device), ids.argmax(dim=1)] @ self.text_projection
        return TextFeatures(x, _mask(ids), pooled)

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that hold a token which training never touched, in order."""
        known = set(self.ids.tolist())
        return [word for word in _WORDS.findall(prompt) if not known.issuperset(tokenizer().encode(word))]

    def cut_words(self, prompt: str) -> list[str]:
        """The words at the end of a prompt that do not fit into the tower's context, in order."""
        room, words = self.config.context_length - 2, prompt.split()
        if len(tokenizer().encode(prompt)) <= room:
            return []
        kept = 0  # every word takes a token at least
        while kept < min(len(words), room) and len(tokenizer().encode(" ".join(words[: kept + 1]))) <= room:
            kept += 1
        return words[kept:]

    def description(self) -> dict[str, Any]:
        return {"kind": "compact", "config": asdict(self.config), "rows": len(self.ids)}

    def to_open_clip(self) -> dict[str, Tensor]:
        """The state dict of the same tower as open_clip's `TextTransformer`, with the whole token table."""
        state = {k.replace("blocks.", "transformer.resblocks."): v for k, v in self.state_dict().items() if k != "ids"}
        state["token_embedding.weight"] = self.token_embedding.weight.detach()[self._row_of]
        return state

    @classmethod
    def from_open_clip(cls, state: dict[str, Tensor], config: CLIPConfig, ids: Iterable[int]) -> "CompactText":
        """Take the text tower out of the state dict of an open_clip `TextTransformer`, keeping the rows of `ids`."""
        model = cls(config, ids)
        table = state["token_embedding.weight"]
        rows = torch.cat([table[model.ids.long()], table[UNKNOWN : UNKNOWN + 1]])
        own = {k.replace("transformer.resblocks.", "blocks."): v for k, v in state.items()}
        model.load_state_dict(own | {"token_embedding.weight": rows, "ids": model.ids})
        return model


class _Block(nn.Module):
    """One pre-norm block with causal self-attention; submodule names are open_clip's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _CausalAttention(width, heads)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _CausalAttention(nn.Module):
    """Causal self-attention with the parameter names of torch's MultiheadAttention. x [B, L, width] -> same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class OpenClipText(TextEncoder):
    """The text tower of any open_clip model: `NAME/TAG` of its registry, or `local-dir:PATH`."""

    def __init__(self, source: str) -> None:
        super().__init__()
        import open_clip

        name, _, tag = source.partition("/") if not source.startswith("local-dir:") else (source, "", "")
        self.source = source
        try:
            model = open_clip.create_model(name, pretrained=tag or None, force_custom_text=True)
            self._tokenize = open_clip.get_tokenizer(name)
        except ImportError as error:
            raise CelebgenError(
                f"open_clip needs another package for the text encoder '{source}' ({first_line(error)}); "
                "pip install transformers sentencepiece brings what most need"
            ) from error
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise CelebgenError(
                f"open_clip cannot load the text encoder '{source}' ({first_line(error)}); "
                "give NAME/TAG from open_clip.list_pretrained(), or local-dir:PATH"
            ) from error
        self.text = model.text
        if not hasattr(self.text, "output_tokens"):
            raise CelebgenError(
                f"the text tower of '{source}' cannot return its tokens; choose another open_clip model"
            )
        self.text.output_tokens = True
        with torch.no_grad():
            probe = self(["a face"])
        self.width, self.pooled_width = probe.tokens.shape[-1], probe.pooled.shape[-1]

    def forward(self, prompts: Sequence[str]) -> TextFeatures:
        device = next(self.text.parameters()).device
        ids = self._tokenize(list(prompts)).to(device)
        pooled, tokens = self.text(ids)
        mask = self._filled(ids) if tokens.shape[1] == ids.shape[1] else torch.ones(tokens.shape[:2], dtype=torch.bool)
        return TextFeatures(tokens, mask.to(device), pooled)

    def _filled(self, ids: Tensor) -> Tensor:
        """Which of the ids [B, L] stand for text: bool [B, L]."""
        import open_clip

        if isinstance(self._tokenize, open_clip.SimpleTokenizer):
            return _mask(ids)
        other = getattr(self._tokenize, "tokenizer", None)  # of transformers
        return _mask_without(getattr(other, "pad_token_id", None), getattr(other, "eos_token_id", None), ids)

    def description(self) -> dict[str, Any]:
        return {"kind": "open_clip", "source": self.source}


def trained_ids(words: Iterable[str]) -> list[int]:
    """Token ids of a vocabulary, with punctuation and the special tokens: the table rows that training touches."""
    ids = {START, END}
    for text in [*words, *".,;:!?&()/'\"-", "'s"]:
        ids.update(tokenizer().encode(text))
    ids.discard(UNKNOWN)
    return sorted(ids)


def build_text(description: dict[str, Any], state: dict[str, Tensor] | None) -> TextEncoder:
    """Build the encoder that `description()` described; `state` are the compact tower's weights."""
    if description["kind"] == "open_clip":
        return OpenClipText(description["source"])
    if state is None or "ids" not in state:
        raise CelebgenError("the weights of the compact text encoder are missing from the model folder")
    encoder = CompactText(sizes_from(CLIPConfig, description["config"]), state["ids"].tolist())
    encoder.load_state_dict(state)
    return encoder


def open_clip_source(text: str) -> str | None:
    """The open_clip source that a `--text` argument names: `open_clip:NAME/TAG` or `local-dir:PATH`, else None."""
    if text.startswith("open_clip:"):
        return text.removeprefix("open_clip:")
    if text.startswith("local-dir:"):
        return "local-dir:" + str(Path(text.removeprefix("local-dir:")).expanduser())
    return None
