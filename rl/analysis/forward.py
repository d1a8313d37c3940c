"""One forward pass over completions: the log-prob of each token, and where the attention of later tokens goes."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl.attention import ProbeError, SpanReader, check_probeable, num_layers, probe

Span = tuple[int, int]


@dataclass(frozen=True)
class Passage:
    """Hold a prompt and a completion in tokens, the tokens from which attention is read (`rows`), and to which.

    Spans are (start, stop) in prompt and completion together.
    """

    prompt: Sequence[int]
    completion: Sequence[int]
    rows: Span = (0, 0)
    spans: Sequence[Span] = ()

    def fits(self, context: int) -> bool:
        """Say whether a context of so many tokens holds it."""
        return len(self.prompt) + len(self.completion) <= context


@dataclass(frozen=True)
class Passed:
    """Hold the log-prob of each token of a completion, nats, and the attention that spans got, by layer and head."""

    log_probs: Float[Tensor, "N"]
    mass: Mapping[int, Float[Tensor, "H S"]]


def readable_layers(model: Any) -> list[int]:
    """Return the layers whose attention can be read."""
    found = []
    for layer in range(num_layers(model)):
        with suppress(ProbeError):
            check_probeable(model, [layer])
            found.append(layer)
    return found


def forward(model: Any, sequences: Sequence[Passage], layers: Sequence[int], pad: int) -> list[Passed]:
    """Pass sequences through a model as one batch; attention is read in the same pass, for all that name spans."""
    longest = max(len(one.prompt) + len(one.completion) for one in sequences)
    shortest = min(len(one.prompt) for one in sequences)
    device = model.device
    ids = torch.full((len(sequences), longest), pad, device=device)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool, device=device)
    for row, one in enumerate(sequences):
        length = len(one.prompt) + len(one.completion)
        ids[row, :length] = torch.tensor([*one.prompt, *one.completion], device=device)
        mask[row, :length] = True
    reader = _reader(sequences, longest, device)
    with torch.no_grad(), probe(model, layers, reader) if reader else nullcontext():
        logits = model(
            input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=longest - shortest + 1
        ).logits
        log_probs = [
            _log_probs(logits[row], ids[row], one, longest - logits.shape[1]) for row, one in enumerate(sequences)
        ]
    mass = reader.mass() if reader else {}
    return [
        Passed(found, {layer: values[row].cpu() for layer, values in mass.items()})
        for row, found in enumerate(log_probs)
    ]


def _log_probs(logits: Float[Tensor, "L V"], ids: Tensor, one: Passage, first: int) -> Float[Tensor, "N"]:
    """Return log p of each token of a completion: row `t - 1` of the logits, the first of which is row `first`."""
    start, stop = len(one.prompt), len(one.prompt) + len(one.completion)
    rows = logits[start - 1 - first : stop - 1 - first].float()
    return -torch.nn.functional.cross_entropy(rows, ids[start:stop], reduction="none").cpu()


def _reader(sequences: Sequence[Passage], longest: int, device: torch.device) -> SpanReader | None:
    num_spans = max(len(one.spans) for one in sequences)
    if num_spans == 0:
        return None
    rows = torch.zeros(len(sequences), longest, dtype=torch.bool)
    spans = torch.zeros(len(sequences), num_spans, longest, dtype=torch.bool)
    for row, one in enumerate(sequences):
        rows[row, slice(*one.rows)] = True
        for number, span in enumerate(one.spans):
            spans[row, number, slice(*span)] = True
    return SpanReader(rows.to(device), spans.to(device))
