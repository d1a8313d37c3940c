"""Statistics of whole attention rows, streamed tile by tile: O(T^2) work, no T x T tensor, sums in float32."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.attention.layer import Attention

ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 26}  # scores of one tile


@dataclass(frozen=True)
class Moments:
    """Hold sums over each row's keys, of the rows that were asked for; A is what the row's lse makes of its scores.

    mass: sum_s A, as row_sums has it where lse is right; kept: the same without the excluded keys; distance: sum_s
    A (t - s) over the keys that are kept, tokens; entropy: -sum_s A log A, nats; peak: a key with the largest A;
    top: that A; spans: sum_s A over each of S sets of keys.
    """

    mass: Float[Tensor, "B H R"]
    kept: Float[Tensor, "B H R"]
    distance: Float[Tensor, "B H R"]
    entropy: Float[Tensor, "B H R"]
    peak: Int[Tensor, "B H R"]
    top: Float[Tensor, "B H R"]
    spans: Float[Tensor, "B H S R"]


def row_lse(attention: Attention, rows: slice) -> Float[Tensor, "B H T"]:
    """Return the log-sum-exp of `rows`; +inf elsewhere and for a row that sees no key, so that exp(s - lse) is 0."""
    batch, num_heads, length, _ = attention.q.shape
    lse = torch.full((batch, num_heads, length), torch.inf, device=attention.q.device)
    for part in _slices(attention, rows):
        total = lse.new_full((batch, num_heads, part.stop - part.start), -torch.inf)
        for _, scores in _tiles(attention, part):
            total = torch.logaddexp(total, scores.logsumexp(-1))
        if attention.sink_logits is not None:
            total = torch.logaddexp(total, attention.sink_logits[:, None])
        lse[:, :, part] = total.masked_fill(total.isneginf(), torch.inf)
    return lse


def row_moments(
    attention: Attention,
    lse: Float[Tensor, "B H T"],
    rows: slice,
    excluded: Bool[Tensor, "B T"] | None = None,
    spans: Bool[Tensor, "B S T"] | None = None,
    *,
    whole: bool = True,
) -> Moments:
    """Return the sums over the keys of each of `rows`; without `whole`, entropy, peak and top are left at 0.

    Distances are sums of p (c - s) and (t - c) p for a tile's end c: subtracting a mean position from t would lose 2e-3
    to cancellation.
    """
    slices = list(_slices(attention, rows)) or [rows]
    sets = attention.keys.new_zeros(len(attention.keys), 0, lse.shape[-1]) if spans is None else spans
    parts = [_moments_of(attention, lse, part, excluded, sets, whole) for part in slices]
    return Moments(*(torch.cat(column, -1) for column in zip(*parts, strict=True)))


def _moments_of(
    attention: Attention,
    lse: Float[Tensor, "B H T"],
    rows: slice,
    excluded: Bool[Tensor, "B T"] | None,
    spans: Bool[Tensor, "B S T"],
    whole: bool,
) -> tuple[Tensor, ...]:
    shape = (*lse.shape[:2], rows.stop - rows.start)
    mass, kept, moment, surprise = (lse.new_zeros(shape) for _ in range(4))
    on_spans = lse.new_zeros(*shape, spans.shape[1])
    highest, peak = lse.new_full(shape, -torch.inf), torch.zeros(shape, dtype=torch.long, device=lse.device)
    place = torch.arange(lse.shape[-1], device=lse.device)
    for columns, log_p in _tiles(attention, rows, lse):
        if whole:
            top = log_p.max(-1)
            higher = top.values > highest
            highest = torch.where(higher, top.values, highest)
            peak = torch.where(higher, top.indices + columns.start, peak)
            p = log_p.exp()
            surprise -= (p * log_p.masked_fill_(p == 0, 0.0)).sum(-1)
        else:
            p = log_p.exp_()
        ones = lse.new_ones(len(attention.keys), columns.stop - columns.start)
        left = ones if excluded is None else ones.masked_fill(excluded[:, columns], 0.0)
        weights = torch.stack([ones, left, left * (columns.stop - place[columns])], dim=-1)
        weights = torch.cat([weights, spans[:, :, columns].transpose(1, 2).to(weights.dtype)], dim=-1)
        sums = p @ weights.unsqueeze(1)
        mass += sums[..., 0]
        kept += sums[..., 1]
        moment += sums[..., 2] + sums[..., 1] * (place[rows] - columns.stop)
        on_spans += sums[..., 3:]
    return mass, kept, moment, surprise, peak, highest.exp(), on_spans.transpose(-1, -2)


def sink_mass(attention: Attention, lse: Float[Tensor, "B H T"], rows: slice) -> Float[Tensor, "B H R"]:
    """Return A[t, first], the attention of each of `rows` to its sequence's first token that is no padding."""
    first = attention.keys.int().argmax(-1)
    key = (
        attention.k[torch.arange(len(first), device=first.device), :, first]
        .repeat_interleave(attention.group, dim=1)
        .float()
    )
    scores = attention.scores((attention.q[:, :, rows].float() @ key.unsqueeze(-1)).squeeze(-1))
    mass = (scores - lse[:, :, rows]).exp_()
    distance = torch.arange(rows.start, rows.stop, device=first.device) - first.unsqueeze(-1)
    unseen = (distance < 0) | (distance >= (attention.sliding or attention.q.shape[2]))
    return mass.masked_fill_(unseen.unsqueeze(1), 0.0)


def received(
    attention: Attention, lse: Float[Tensor, "B H T"], rows: slice, sentence: Int[Tensor, "B T"], gap: int
) -> Float[Tensor, "B H S"]:
    """Return v_j = mean over sentences i >= j + gap of the mean attention of i's tokens to j's (arXiv 2506.19143).

    `sentence` numbers each token's sentence, -1 for none; `rows` hold all of them. v is nan where no sentence is far
    enough on, or none has this number.
    """
    num_sentences = int(sentence.max()) + 1
    numbers = torch.arange(num_sentences, device=lse.device)
    sizes = torch.zeros(len(sentence), num_sentences + 1, device=lse.device)
    sizes = sizes.scatter_add_(1, sentence + 1, torch.ones_like(sentence, dtype=sizes.dtype))[:, 1:]
    far = (numbers[:, None] >= numbers[None, :] + gap).float()  # [i, j]

    def share(part: slice) -> Float[Tensor, "B R S"]:
        """Return 1 / size of its sentence for each token, in that sentence's column."""
        return (sentence[:, part].unsqueeze(-1) == numbers).float() / sizes.clamp_min(1).unsqueeze(1)

    total = lse.new_zeros(*lse.shape[:2], num_sentences)
    for part in _slices(attention, rows):
        heard = (share(part) @ far).unsqueeze(1)
        for columns, log_p in _tiles(attention, part, lse):
            total += ((log_p.exp_() @ share(columns).unsqueeze(1)) * heard).sum(2)
    later = (sizes > 0).float() @ far
    counted = (later > 0) & (sizes > 0)
    return (total / later.clamp_min(1).unsqueeze(1)).masked_fill(~counted.unsqueeze(1), torch.nan)


def span_mass(
    attention: Attention, lse: Float[Tensor, "B H T"], rows: slice, spans: Bool[Tensor, "B S T"]
) -> Float[Tensor, "B H R S"]:
    """Return sum over the keys s of a span of A[t, s], for each of `rows` and each of S sets of keys.

    Tiles without any such key are not computed: given lse, K keys cost O(T K).
    """
    wanted = spans.flatten(0, 1).any(0).cpu()
    parts = []
    for part in _slices(attention, rows):
        mass = lse.new_zeros(*lse.shape[:2], part.stop - part.start, spans.shape[1])
        for columns, log_p in _tiles(attention, part, lse, wanted):
            mass += log_p.exp_() @ spans[:, None, :, columns].transpose(-1, -2).float()
        parts.append(mass)
    return torch.cat(parts, 2)


def _tiles(
    attention: Attention,
    rows: slice,
    lse: Float[Tensor, "B H T"] | None = None,
    wanted: Bool[Tensor, "T"] | None = None,
) -> Iterator[tuple[slice, Float[Tensor, "B H R C"]]]:
    """Yield the keys that `rows` may see, tile by tile: their columns, and the scores, less lse where it is given.

    -inf where a row does not see a key. Tiles without a `wanted` key are left out.
    """
    (batch, num_heads, _, size), num_key_heads = attention.q.shape, attention.k.shape[1]
    q = attention.q[:, :, rows].float().reshape(batch, num_key_heads, -1, size)  # a key head's rows, head by head
    first = 0 if attention.sliding is None else max(0, rows.start - attention.sliding + 1)
    place = torch.arange(attention.q.shape[2], device=q.device)
    unpadded = attention.keys.all(0).cpu()
    for columns in _slices(attention, slice(first, rows.stop)):
        if wanted is not None and not wanted[columns].any():
            continue
        products = q @ attention.k[:, :, columns].float().transpose(-1, -2)
        scores = attention.scores(products).view(batch, num_heads, rows.stop - rows.start, -1)
        if lse is not None:
            scores.sub_(lse[:, :, rows].unsqueeze(-1))
        far = attention.sliding is not None and rows.stop - 1 - columns.start >= attention.sliding
        if columns.stop - 1 > rows.start or far or not unpadded[columns].all():
            distance = place[rows, None] - place[None, columns]
            unseen = (distance < 0) | (distance >= (attention.sliding or len(place)))
            scores.masked_fill_(unseen | ~attention.keys[:, None, None, columns], -torch.inf)
        yield columns, scores


def _side(attention: Attention) -> int:
    """Return how many rows and keys a tile has: a power of two, so that its scores stay within ELEMENTS."""
    limit = ELEMENTS.get(attention.q.device.type, ELEMENTS["cuda"])
    batch, num_heads = attention.q.shape[:2]
    return 1 << max(5, int(math.log2(limit / (batch * num_heads)) / 2))


def _slices(attention: Attention, rows: slice) -> Iterator[slice]:
    side = _side(attention)
    for low in range(rows.start, rows.stop, side):
        yield slice(low, min(low + side, rows.stop))
