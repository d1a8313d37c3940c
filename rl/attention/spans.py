"""How much attention the rows of a sequence give to spans of its keys, such as the question or the answer's opening."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.attention.layer import Attention
from rl.attention.moments import row_lse, span_mass
from rl.attention.readers import MASS_ERROR, response_columns
from rl.attention.structure import ProbeError


class SpanReader:
    """Average over each sequence's `rows` the attention that each of its S `spans` of keys gets from every head.

    Sequences come in one or more passes. Memory is O(T) per layer and head: no map is kept.
    """

    def __init__(self, rows: Bool[Tensor, "B T"], spans: Bool[Tensor, "B S T"]) -> None:
        self.rows, self.spans = rows, spans
        self._found: dict[int, list[Float[Tensor, "b H S"]]] = {}
        self._sequences, self._columns = slice(0, 0), slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._sequences = slice(self._sequences.stop, self._sequences.stop + num_sequences)
        self._columns = response_columns(self.rows[self._sequences])

    def read(self, layer: int, attention: Attention) -> None:
        """Take one layer's attention."""
        rows, columns = self.rows[self._sequences], self._columns
        counts = rows.sum(-1)[:, None, None]
        if columns.start == columns.stop:
            batch, heads, *_ = attention.q.shape
            mass = torch.full((batch, heads, self.spans.shape[1]), torch.nan, device=rows.device)
        else:
            lse = row_lse(attention, columns) if attention.lse is None else attention.lse
            self._check(layer, attention, lse, columns)
            each = span_mass(attention, lse, columns, self.spans[self._sequences])
            mass = (each * rows[:, None, columns, None]).sum(2) / counts
        self._found.setdefault(layer, []).append(mass)

    def _check(self, layer: int, attention: Attention, lse: Float[Tensor, "B H T"], columns: slice) -> None:
        """Raise ProbeError where the last row's attention is not what its log-sum-exp says."""
        last = slice(columns.stop - 1, columns.stop)
        sums = span_mass(attention, lse, last, torch.ones_like(attention.keys).unsqueeze(1))[..., 0]
        seen = self.rows[self._sequences, last].unsqueeze(1)
        error = (sums - attention.row_sums(lse[:, :, last], range(lse.shape[1]))).abs().masked_fill(~seen, 0.0).amax()
        if not error <= MASS_ERROR:  # nan is no better
            raise ProbeError(f"layer {layer} attends to other keys than a causal mask and padding leave: not probeable")

    def mass(self) -> dict[int, Float[Tensor, "B H S"]]:
        """Return by layer the mean over rows of sum_{s in span} A[t, s]; nan for a sequence without rows."""
        assert self._sequences.stop == len(self.rows), "every sequence must have passed exactly once"
        return {layer: torch.cat(parts) for layer, parts in sorted(self._found.items())}
