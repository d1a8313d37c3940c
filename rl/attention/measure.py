"""Measure a batch with a forward pass of its own, without gradients, that ends after the last layer that is read."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from rl.attention.heads import Heads, probed_layers, select
from rl.attention.layer import Attention
from rl.attention.probe import Reader, probe
from rl.attention.readers import HeadScores, RhythmReader, ScoreReader, Span
from rl.attention.rhythm import Rhythm
from rl.attention.sinks import SinkReader, watch
from rl.attention.structure import ProbeError, attention_modules, decoder_layers, num_layers, shortened, transformer

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

    `layers` None probes the paper's five; `heads` None selects the nearest and farthest 30 % of their heads on this
    batch. Raises ValueError for masks, layers, heads, a window or a horizon that do not fit.
    """
    check_rhythm(window, horizon)
    response = _response(input_ids, attention_mask, response_mask)
    if heads is None:
        distances = ScoreReader(response, whole=False)
        read(model, input_ids, attention_mask, _chosen(model, layers), distances)
        sums = distances.distance_sums()
        heads = select({layer: (far / kept.clamp_min(1)).tolist() for layer, (far, kept) in sums.items()}, 0.3, 0.3)
    _check_heads(model, heads, layers)
    reader = RhythmReader(heads, response, window, horizon)
    read(model, input_ids, attention_mask, heads.layers, reader)
    return reader.rhythm()


def head_scores(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Mask,
    response_mask: Mask,
    *,
    layers: Sequence[int] | None = None,
    sentences: Sequence[Sequence[Span]] | None = None,
    needle: Sequence[Span] | None = None,
) -> dict[int, HeadScores]:
    """Return mean distance, entropy, sink mass, receiver kurtosis and retrieval score of every head, by layer.

    nan where there is nothing to average: no response token, or for receiver too few sentences for any spread.
    `layers` None probes the paper's five. `sentences` holds for each sequence its sentences as (start, stop) columns of
    input_ids, `needle` one such span for each. Raises ValueError for masks, layers or spans that do not fit.
    """
    response = _response(input_ids, attention_mask, response_mask)
    reader = ScoreReader(response, sentences=sentences, needle=needle, input_ids=input_ids)
    read(model, input_ids, attention_mask, _chosen(model, layers), reader)
    return reader.scores()


def find_sinks(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Mask,
    *,
    last_layer: int,
    micro_batch: int | None = None,
) -> Bool[Tensor, "B T"]:
    """Return which tokens are attention sinks, as layers 0 .. last_layer see them (arXiv 2512.22213)."""
    reader = SinkReader(attention_mask.bool())
    with watch(decoder_layers(model)[: last_layer + 1], reader):
        run(model, input_ids, attention_mask, last_layer, micro_batch)
    return reader.sinks()


def read(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Mask,
    layers: Sequence[int],
    reader: Reader,
    micro_batch: int | None = None,
) -> None:
    """Feed reader from `layers`, with at most micro_batch sequences in a pass."""
    with probe(model, layers, reader):
        run(model, input_ids, attention_mask, max(layers), micro_batch)


def run(
    model: nn.Module, input_ids: Int[Tensor, "B T"], attention_mask: Mask, last_layer: int, micro_batch: int | None
) -> None:
    """Run the layers 0 .. last_layer for their attention alone, without the logits, which would dwarf the rest."""
    size = micro_batch or len(input_ids)
    with torch.no_grad(), shortened(model, last_layer + 1):
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1)


def check_probeable(model: nn.Module, layers: Sequence[int]) -> None:
    """Raise ProbeError where a layer cannot be probed; works on fake tensors too, without any weights."""
    ids = torch.zeros(1, 4, dtype=torch.long, device=next(model.parameters()).device)
    with torch.no_grad(), probe(model, layers, _Nothing()):
        model(input_ids=ids, use_cache=False, logits_to_keep=1)


def readable_layers(model: nn.Module) -> tuple[int, ...]:
    """Return the layers whose attention can be read: those that go through transformers' attention interface."""
    layers = sorted(attention_modules(model))
    with suppress(ProbeError):
        check_probeable(model, layers)
        return tuple(layers)
    return tuple(layer for layer in layers if _is_readable(model, layer))


def _is_readable(model: nn.Module, layer: int) -> bool:
    try:
        check_probeable(model, [layer])
    except ProbeError:
        return False
    return True


class _Nothing:
    """Read nothing."""

    def start(self, num_sequences: int) -> None:
        pass

    def read(self, layer: int, attention: Attention) -> None:
        pass


def check_rhythm(window: int, horizon: tuple[int, int]) -> None:
    """Raise ValueError for a WAAD window or an FAI horizon that holds no token."""
    if window < 1:
        raise ValueError(f"window: {window} holds no token; it is at least 1")
    if not 1 <= horizon[0] <= horizon[1]:
        raise ValueError(f"horizon: {tuple(horizon)} is empty; write (nearest, farthest), from 1 on")


def _chosen(model: nn.Module, layers: Sequence[int] | None) -> tuple[int, ...]:
    chosen = probed_layers(num_layers(model)) if layers is None else tuple(layers)
    if not chosen:
        raise ValueError("layers: none are given; leave them out to probe the paper's five")
    return chosen


def _check_heads(model: nn.Module, heads: Heads, layers: Sequence[int] | None) -> None:
    if not heads.local or not heads.global_:
        raise ValueError("heads: WAAD needs local heads and FAI needs global heads, and one of the two is empty")
    num_heads = transformer(model).config.get_text_config().num_attention_heads
    odd = [pair for pair in (*heads.local, *heads.global_) if not 0 <= pair[1] < num_heads]
    if odd:
        raise ValueError(f"heads: {odd[0]} is no (layer, head) of a model with heads 0..{num_heads - 1}")
    if layers is not None and not set(heads.layers) <= set(layers):
        raise ValueError(f"heads: they lie in layers {list(heads.layers)}, not only in the layers {list(layers)}")


def _response(input_ids: Tensor, attention_mask: Tensor, response_mask: Tensor) -> Bool[Tensor, "B T"]:
    for name, value in {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "response_mask": response_mask,
    }.items():
        if not isinstance(value, Tensor) or value.ndim != 2 or 0 in value.shape:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: should be a tensor (B, T) that is not empty, not {shape}")
    for name, mask in {"attention_mask": attention_mask, "response_mask": response_mask}.items():
        if mask.shape != input_ids.shape:
            raise ValueError(f"{name} has shape {tuple(mask.shape)}, input_ids {tuple(input_ids.shape)}")
    outside = response_mask.bool() & ~attention_mask.bool()
    if outside.any():
        row, column = outside.nonzero()[0].tolist()
        raise ValueError(f"response_mask: token {column} of sequence {row} is padding by attention_mask")
    return response_mask.bool()
