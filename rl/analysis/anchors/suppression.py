"""What each sentence does to later ones: how their next-token distributions move when it is hidden.

arXiv 2506.19143. The effect of sentence j on a later one i is the mean over i's tokens of log(KL(base || suppressed) +
1e-9), of the distributions that these tokens predict, at temperature 0.6, over the tokens that come to 0.9999 of the
base's probability; both are normalised over those [ours].
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rl.analysis.anchors.marked import Marked
from rl.attention import suppress
from rl.policy import Policy

TEMPERATURE, TOP_P, LEAST = 0.6, 0.9999, 1e-9
ROWS = 64  # whose distributions are compared at a time
Matrix = list[list[float | None]]
"""[i][j]: the effect of sentence j on sentence i; None but for j < i."""


def suppression(policy: Policy, trace: Marked, *, batch: int, heard: Callable[[int], None]) -> Matrix:
    """Return the effects of hiding each sentence of a trace, `batch` of them in a pass, less the mean of their row.

    `heard` is told how many sentences are done. Raises ProbeError where the model's attention cannot be changed.
    """
    sentences = trace.sentences
    effects: Matrix = [[None] * len(sentences) for _ in sentences]
    ids = torch.tensor([trace.ids], device=policy.model.device)
    with torch.no_grad():
        first = sentences[0][1]  # the first token that anything can be hidden from
        base = policy.model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - first).logits[0]
        for start in range(0, len(sentences) - 1, batch):
            part = range(start, min(start + batch, len(sentences) - 1))
            hidden = torch.zeros(len(part), ids.shape[1], dtype=torch.bool, device=ids.device)
            for row, source in enumerate(part):
                hidden[row, slice(*sentences[source])] = True
            behind = sentences[start][1]
            with suppress(policy.model, hidden):
                logits = policy.model(
                    input_ids=ids.expand(len(part), -1), use_cache=False, logits_to_keep=ids.shape[1] - behind
                ).logits
            for row, source in enumerate(part):
                moved = (divergence(base[behind - first :], logits[row]) + LEAST).log().cpu()
                for later in range(source + 1, len(sentences)):
                    low, high = (place - behind for place in sentences[later])
                    effects[later][source] = float(moved[low:high].mean())
            heard(len(part))
    return [_centred(row) for row in effects]


def divergence(base: Float[Tensor, "R V"], changed: Float[Tensor, "R V"]) -> Float[Tensor, "R"]:
    """Return KL(base || changed) of each row's distribution, in nats."""
    parts = []
    for pair in zip(base.split(ROWS), changed.split(ROWS), strict=True):
        left, right = (logits.float() / TEMPERATURE for logits in pair)
        ranked = left.softmax(-1).sort(-1, descending=True)
        outside = torch.zeros_like(left, dtype=torch.bool)
        outside.scatter_(-1, ranked.indices, ranked.values.cumsum(-1) - ranked.values >= TOP_P)
        p, q = (scores.masked_fill(outside, -torch.inf).log_softmax(-1) for scores in (left, right))
        parts.append((p.exp() * (p - q)).masked_fill(outside, 0.0).sum(-1).clamp_min(0.0))
    return torch.cat(parts)


def importances(matrix: Matrix) -> list[float | None]:
    """Return each sentence's mean effect on later ones, against what else moves them; None for the last [ours]."""
    columns = [[row[source] for row in matrix] for source in range(len(matrix))]
    known = [[value for value in column if value is not None] for column in columns]
    return [math.fsum(values) / len(values) if values else None for values in known]


def dependents(matrix: Matrix, source: int, count: int) -> list[int]:
    """Return the later sentences on which a sentence has the most effect, above their mean, the largest first."""
    pairs = [(value, later) for later, row in enumerate(matrix) if (value := row[source]) is not None and value > 0]
    return [later for _, later in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:count]]


def _centred(row: Sequence[float | None]) -> list[float | None]:
    known = [value for value in row if value is not None]
    mean = math.fsum(known) / len(known) if known else 0.0
    return [None if value is None else value - mean for value in row]
