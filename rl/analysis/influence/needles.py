"""Retrieval heads: those that look at what is copied, on needles in a haystack of the data's own tokens.

A probe is a text of the data with a needle of random tokens of the data in it; at its end the needle's beginning is
said again, and the rest of it follows, teacher-forced. A head's score is the share of the needle's rest that its
strongest key was when that very token was written (arXiv 2404.15574). The probes are [ours].
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from rl.attention import Head, head_scores
from rl.policy import Policy

NUM_PROBES, LENGTH, NEEDLE, LEAD = 16, 512, 16, 4  # probes; tokens of each, of its needle, of the needle's beginning


@dataclass(frozen=True)
class Needle:
    """Hold a probe's tokens, where the rest of its needle stands in them, and where it is written again."""

    ids: Sequence[int]
    needle: tuple[int, int]
    response: tuple[int, int]


def make_probes(tokens: Sequence[int], length: int, seed: int) -> list[Needle]:
    """Return probes of `length` tokens out of the data's, their needles at depths from the first token to the last."""
    chance = random.Random(seed)
    known = sorted(set(tokens))
    room = length - 2 * NEEDLE
    probes = []
    for number in range(NUM_PROBES):
        needle = chance.choices(known, k=NEEDLE)
        offset = chance.randrange(len(tokens))
        hay = [tokens[(offset + place) % len(tokens)] for place in range(room)]
        at = round(room * number / (NUM_PROBES - 1))
        ids = [*hay[:at], *needle, *hay[at:], *needle]
        probes.append(Needle(ids, (at + LEAD, at + NEEDLE), (length - NEEDLE + LEAD, length)))
    return probes


def retrieval_scores(
    policy: Policy, probes: Sequence[Needle], layers: Sequence[int], *, batch: int, heard: Callable[[int], None]
) -> dict[Head, float]:
    """Return every head's retrieval score, mean over probes, `batch` of them in a pass."""
    sums: dict[Head, float] = {}
    for start in range(0, len(probes), batch):
        part = probes[start : start + batch]
        ids = torch.tensor([one.ids for one in part], device=policy.model.device)
        response = torch.zeros_like(ids)
        for row, one in enumerate(part):
            response[row, slice(*one.response)] = 1
        needles = [one.needle for one in part]
        found = head_scores(policy.model, ids, torch.ones_like(ids), response, layers=layers, needle=needles)
        for layer, scores in found.items():
            assert scores.retrieval is not None
            for head, value in enumerate(scores.retrieval.tolist()):
                sums[layer, head] = sums.get((layer, head), 0.0) + value * len(part) / len(probes)
        heard(len(part))
    return sums


def strongest(scores: Mapping[Head, float], share: float) -> list[Head]:
    """Return the share of heads with the largest scores, rounded, at least one; of equals the lower layer and head."""
    ranked = sorted(scores, key=lambda head: (-scores[head], head))
    return ranked[: max(1, round(share * len(ranked)))]
