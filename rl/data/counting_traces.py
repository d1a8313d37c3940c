"""Worked completions for sums of two terms: counted from the first term to the result, or the bare result.

Both are right, so that a policy warmed up on them has a long way and a short one to choose from. All is [ours].
"""

import random
import re
from collections.abc import Mapping
from typing import Any

BARE_SHARE = 0.4


def write_counting(question: str, answer: str, metadata: Mapping[str, Any], rng: random.Random, progress: float) -> str:
    """Return an assistant text for a chain_sum task of two terms: a think block that counts or not, an answer block.

    All tasks are told alike, whatever `progress` (the place in a curriculum). Raises ValueError for another task.
    """
    terms = [int(term) for term in re.findall(r"-?\d+", metadata.get("expression", "").replace("- ", "-"))]
    if len(terms) != 2 or sum(terms) != int(answer):
        raise ValueError("only a sum of two terms is counted; set data.options min_ and max_terms: 2")
    first, last = terms[0], int(answer)
    step = 1 if last > first else -1
    counted = [last] if rng.random() < BARE_SHARE else list(range(first, last + step, step))
    return f"<think>{' '.join(map(str, counted))}</think><answer>{answer}</answer>"
