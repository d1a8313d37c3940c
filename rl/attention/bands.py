"""WAAD and FAI from a few diagonals of the attention map: given each row's log-sum-exp, both cost O(T).

Blocks of rows meet the few keys near them in one batched matrix product, whose diagonals are a skewed view of it. No
T x T tensor is ever made, and sums run in float32 whatever the model's dtype.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.attention.layer import Attention

WAAD_ROWS, FAI_KEYS = 32, 64  # of one block: fewer waste less on what lies beside the diagonals, more run faster
ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 26}  # of the blocks and of their scores, held at a time


def waad(
    attention: Attention, heads: Sequence[int], lse: Float[Tensor, "B N T"], rows: slice, window: int
) -> Float[Tensor, "B N T"]:
    """Return WAAD_t = sum_s A[t, s] min(t - s, W) as W - sum_{d < W} (W - d) A[t, t - d] (arXiv 2510.13554).

    W diagonals, since rows sum to 1 (with a learned sink to less: then W times that). Only `rows` are computed, the
    rest is 0; a row whose lse is +inf gets W, and is for the caller to mask.
    """
    window = min(window, lse.shape[-1])  # no distance is longer
    out = torch.zeros_like(lse)
    sums = attention.row_sums(lse, heads)
    for part in _parts(attention, lse, rows, WAAD_ROWS, window):
        first, num = part.start - (window - 1), part.stop - part.start
        pair = _heads(attention.q, heads), _heads(attention.k, heads, attention.group)
        scores = _diagonals(attention, *pair, part, first, WAAD_ROWS, window)
        seen = _cut(attention.keys, first, num + window - 1).unfold(-1, window, 1).unsqueeze(1)
        near = torch.arange(1, window + 1, device=lse.device, dtype=lse.dtype)  # column j: the key W - 1 - j before
        if attention.sliding is not None and attention.sliding < window:
            near[: window - attention.sliding] = 0
        attended = (scores - lse[:, :, part].unsqueeze(-1)).masked_fill_(~seen, -torch.inf).exp_()
        out[:, :, part] = window * sums[:, :, part] - attended @ near
    return out


def fai(
    attention: Attention,
    heads: Sequence[int],
    lse: Float[Tensor, "B N T"],
    rows: slice,
    response: Bool[Tensor, "B T"],
    horizon: tuple[int, int],
) -> Float[Tensor, "B N T"]:
    """Return FAI_s = mean of A[t, s] over response rows t with s + lo <= t <= s + hi (arXiv 2510.13554).

    hi - lo + 1 diagonals. Only the keys in `rows`, which must hold every response row, are computed; the rest is 0, and
    so is a key outside the response or without a row in its horizon [ours].
    """
    low, high = horizon[0], min(horizon[1], rows.stop - 1 - rows.start)
    out = torch.zeros_like(lse)
    if low > high:
        return out
    width = high - low + 1
    reached = width if attention.sliding is None else min(max(attention.sliding - low, 0), width)
    heard = lse.masked_fill(~response.unsqueeze(1), torch.inf)  # exp(s - inf) = 0
    for part in _parts(attention, lse, slice(rows.start, rows.stop - low), FAI_KEYS, width):
        first, num = part.start + low, part.stop - part.start
        pair = _heads(attention.k, heads, attention.group), _heads(attention.q, heads)
        scores = _diagonals(attention, *pair, part, first, FAI_KEYS, width)[..., :reached]
        later = _cut(heard, first, num + width - 1, torch.inf).unfold(-1, width, 1)[..., :reached]
        out[:, :, part] = (scores - later).exp_().sum(-1)  # column j: the row lo + j after
    count = num_heard(response, horizon).clamp_min(1)
    return torch.where(response.unsqueeze(1), out / count.unsqueeze(1), 0.0)


def num_heard(response: Bool[Tensor, "B T"], horizon: tuple[int, int]) -> Int[Tensor, "B T"]:
    """Count for each token s the response rows t with s + lo <= t <= s + hi, which its FAI is the mean over."""
    length = response.shape[1]
    seen = F.pad(response.long().cumsum(-1), (1, 0))
    place = torch.arange(length, device=response.device)
    first, after = ((place + step).clamp(max=length) for step in (horizon[0], horizon[1] + 1))
    return seen[:, after] - seen[:, first]


def _heads(x: Float[Tensor, "B H T D"], heads: Sequence[int], group: int = 1) -> list[Float[Tensor, "B T D"]]:
    """Return the view of each head, where `group` of them share one."""
    return [x[:, head // group] for head in heads]


def _diagonals(
    attention: Attention,
    near: list[Float[Tensor, "B T D"]],
    far: list[Float[Tensor, "B T D"]],
    rows: slice,
    first: int,
    block: int,
    width: int,
) -> Float[Tensor, "B N R W"]:
    """Return the scores of each of `rows` of near, from rows.start on, with the `width` rows of far from `first` on.

    Row i, column j is near's row rows.start + i with far's row first + i + j. Both are laid out in blocks, so that
    one batched product takes overlapping windows of far without copying them, and the skewed view of each block of
    products has the diagonals as columns. Spare blocks keep a head's windows from reaching into the next head.
    """
    (batch, _, size), num_rows = near[0].shape, rows.stop - rows.start
    used, spare = -(-num_rows // block), -(-(width - 1) // block)
    length, columns = (used + spare) * block, block + width - 1
    left = _lay(near, rows.start, length).view(-1, block, size)
    right = _lay(far, first, length, width - 1)
    if attention.softcap is None:
        left.mul_(attention.scale)
    products = left @ right.as_strided((len(left), size, columns), (block * size, 1, size))
    if attention.softcap is not None:
        attention.scores(products)
    per_head, per_block = (used + spare) * block * columns, block * columns
    strides = (len(near) * per_head, per_head, per_block, columns + 1, 1)
    return products.as_strided((batch, len(near), used, block, width), strides).flatten(2, 3)[:, :, :num_rows]


def _lay(heads: list[Float[Tensor, "B T D"]], start: int, length: int, tail: int = 0) -> Float[Tensor, "R D"]:
    """Return rows start .. start + length of every head in float32, head after head, and `tail` rows more.

    Rows that a head does not have are 0.
    """
    batch, num_rows, size = heads[0].shape
    flat = torch.empty(batch * len(heads) * length + tail, size, device=heads[0].device)
    flat[len(flat) - tail :] = 0
    laid = flat[: len(flat) - tail].view(batch, len(heads), length, size)
    low, high = max(start, 0), max(min(start + length, num_rows), start, 0)
    laid[:, :, : low - start] = 0
    laid[:, :, high - start :] = 0
    for index, head in enumerate(heads):
        laid[:, index, low - start : high - start] = head[:, low:high]
    return flat


def _parts(attention: Attention, lse: Float[Tensor, "B N T"], rows: slice, block: int, width: int) -> Iterator[slice]:
    """Split rows so that the two sides of a part's products and the products themselves stay within ELEMENTS."""
    limit = ELEMENTS.get(lse.device.type, ELEMENTS["cuda"])
    per_block = block * (block + width - 1 + 2 * attention.q.shape[-1])
    step = max(1, limit // (lse.shape[0] * lse.shape[1] * per_block)) * block
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


def _cut(x: Tensor, start: int, length: int, fill: float = 0) -> Tensor:
    """Return columns start .. start + length of x (..., T), with `fill` where they lie outside of it."""
    part = x[..., max(start, 0) : max(start + length, 0)]
    before = max(-start, 0)
    missing = length - before - part.shape[-1]
    return F.pad(part, (before, missing), value=fill) if before or missing else part
