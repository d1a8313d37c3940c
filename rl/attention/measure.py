"""Measure a batch with a forward pass of its own, without gradients."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.attention.heads import Heads, probed_layers, select
from rl.attention.probe import DistanceReader, RhythmReader, attention_modules, num_layers, probe
from rl.attention.rhythm import Rhythm

Mask = Bool[Tensor, "B T"] | Int[Tensor, "B T"]


def measure(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Mask,
    response_mask: Mask,
    *,
    layers: Sequence[int] | None = None,
    heads: Heads | None = None,
    window: int = 10,
    horizon: tuple[int, int] = (10, 100),
) -> Rhythm:
    """Return WAAD and FAI of every token, aligned with input_ids and 0 outside the response.

    `layers` None probes the paper's five; `heads` None selects the nearest and farthest 30 % on this batch.
    """
    response = response_mask.bool()
    if heads is None:
        chosen = layers if layers is not None else probed_layers(num_layers(model))
        distances = mean_distances(model, input_ids, attention_mask, response_mask, layers=chosen)
        heads = select({layer: row.tolist() for layer, row in distances.items()}, 0.3, 0.3)
    reader = RhythmReader(heads, response, window, horizon)
    with torch.no_grad(), probe(model, heads.layers, reader):
        _pass(model, input_ids, attention_mask)
    return reader.rhythm()


def mean_distances(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Mask,
    response_mask: Mask,
    *,
    layers: Sequence[int] | None = None,
) -> dict[int, Float[Tensor, "H"]]:
    """Return d(l, h) = mean over response rows t of sum_s A[t, s] (t - s), in tokens, per layer (all by default)."""
    response = response_mask.bool()
    sums = distance_sums(model, input_ids, attention_mask, response, layers=layers)
    return {layer: (total / response.sum().clamp_min(1)).float() for layer, total in sums.items()}


def distance_sums(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Mask,
    response: Bool[Tensor, "B T"],
    *,
    layers: Sequence[int] | None = None,
    micro_batch: int | None = None,
) -> dict[int, Float[Tensor, "H"]]:
    """Return the sums that mean_distances divides, in float64, with at most micro_batch sequences in a pass."""
    reader = DistanceReader(response)
    size = micro_batch or len(input_ids)
    with torch.no_grad(), probe(model, layers if layers is not None else list(attention_modules(model)), reader):
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            _pass(model, ids, mask)
    return dict(sorted(reader.sums.items()))


def _pass(model: nn.Module, input_ids: Int[Tensor, "B T"], attention_mask: Mask) -> None:
    """Run a forward pass for its attention alone: the logits of one token, since those of all would dwarf the rest."""
    model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=1)
