"""CLIP's byte-pair tokenizer, read from the vocabulary file that open_clip ships, without importing open_clip.

Lower-cased byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; Radford et al. 2021). Equal to open_clip's
`SimpleTokenizer`, and a test says so; importing that one costs more than the whole of sampling's start.
"""

import functools
import gzip
import html
import importlib.util
import itertools
from collections.abc import Sequence
from pathlib import Path

import regex
import torch
from torch import Tensor

from celebgen_cli.errors import CelebgenError

VOCABULARY_SIZE = 49408
START, END = 49406, 49407
_MERGES = 48894  # of the file's lines: 49,408 ids less 256 bytes, twice, and two special tokens
_PIECES = regex.compile(
    r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)


def _byte_symbols() -> dict[int, str]:
    """One printable character a byte: printable Latin-1 stands for itself, the rest counts up from 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = {byte: chr(byte) for byte in printable}
    symbols.update({byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in symbols)})
    return symbols


class Tokenizer:
    """Text -> token ids. `encode` gives the bare ids; a call pads to a batch between start and end of text."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("open_clip")
        places = list(spec.submodule_search_locations or ()) if spec else []
        path = Path(places[0]) / "bpe_simple_vocab_16e6.txt.gz" if places else None
        if path is None or not path.is_file():
            raise CelebgenError(
                "the tokenizer's vocabulary is missing because open_clip_torch is not installed whole; "
                "run: pip install open_clip_torch"
            )
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : 1 + _MERGES]
        self._rank = {line: rank for rank, line in enumerate(lines)}
        self._bytes = _byte_symbols()
        self._ids = {symbol: i for i, symbol in enumerate(self._bytes.values())}
        self._ids.update({symbol + "</w>": 256 + i for i, symbol in enumerate(self._bytes.values())})
        self._ids.update({line.replace(" ", ""): 512 + rank for rank, line in enumerate(lines)})
        self._ids.update({"<start_of_text>": START, "<end_of_text>": END})
        self._cache: dict[str, list[int]] = {"<start_of_text>": [START], "<end_of_text>": [END]}

    def _piece(self, piece: str) -> list[int]:
        if piece in self._cache:
            return self._cache[piece]
        word = [self._bytes[byte] for byte in piece.encode("utf-8")]
        word[-1] += "</w>"
        while len(word) > 1:
            pairs = [f"{a} {b}" for a, b in itertools.pairwise(word)]
            best = min(pairs, key=lambda pair: self._rank.get(pair, _MERGES))
            if best not in self._rank:
                break
            merged: list[str] = []
            i = 0
            while i < len(word):
                if i < len(pairs) and pairs[i] == best:
                    merged.append(word[i] + word[i + 1])
                    i += 2
                else:
                    merged.append(word[i])
                    i += 1
            word = merged
        ids = [self._ids[symbol] for symbol in word]
        if len(self._cache) < 65536:  # bounded: a pipeline may send any number of words
            self._cache[piece] = ids
        return ids

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without start and end."""
        if "&" in text or not (text.isascii() and text.isprintable()):
            import ftfy

            text = ftfy.fix_text(text)
        text = " ".join(html.unescape(html.unescape(text)).split()).lower()
        return [token for piece in _PIECES.findall(text) for token in self._piece(piece)]

    def __call__(self, texts: Sequence[str], context_length: int) -> Tensor:
        """Token ids int64 [B, context_length]: start, text, end, zeros; what does not fit is cut before the end."""
        result = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(result, texts, strict=True):
            ids = [START, *self.encode(text)[: context_length - 2], END]
            row[: len(ids)] = torch.tensor(ids)
        return result


@functools.cache
def tokenizer() -> Tokenizer:
    """The one tokenizer of this process."""
    return Tokenizer()
