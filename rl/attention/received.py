"""How much attention each sentence receives from later ones, head by head (arXiv 2506.19143)."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from rl.attention.layer import Attention
from rl.attention.moments import received, row_lse
from rl.attention.readers import SENTENCE_GAP, Span, response_columns, sentence_numbers


class ReceivedReader:
    """Keep, for sequences in one or more passes, the attention that each sentence gets from those at least 4 later.

    `keys` marks the tokens that are no padding; `sentences` holds for each sequence its sentences as (start, stop).
    """

    def __init__(self, keys: Bool[Tensor, "B T"], sentences: Sequence[Sequence[Span]]) -> None:
        self.sentences = sentences
        self._number = sentence_numbers(sentences, keys)
        self._found: dict[int, list[Float[Tensor, "H S"]]] = {}
        self._sequences = slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._sequences = slice(self._sequences.stop, self._sequences.stop + num_sequences)

    def read(self, layer: int, attention: Attention) -> None:
        """Take one layer's attention."""
        number = self._number[self._sequences]
        rows = response_columns(number >= 0)
        lse = row_lse(attention, rows) if attention.lse is None else attention.lse
        values = received(attention, lse, rows, number, SENTENCE_GAP)
        counts = [len(spans) for spans in self.sentences[self._sequences]]
        self._found.setdefault(layer, []).extend(own[:, :count] for own, count in zip(values, counts, strict=True))

    def received(self) -> list[dict[int, Float[Tensor, "H S"]]]:
        """Return for each sequence, by layer, v_j of its sentences; nan for those without a later one."""
        assert self._sequences.stop == len(self.sentences), "every sequence must have passed exactly once"
        layers = sorted(self._found)
        return [{layer: self._found[layer][place] for layer in layers} for place in range(len(self.sentences))]
