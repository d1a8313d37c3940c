"""Sums that the embedded model mostly gets right by counting, and sometimes at once: long reasoning that pays."""

import json
import random
from pathlib import Path

BARE_SHARE = 0.4


def write_rows(path: Path, traces: int) -> Path:
    """Write a hundred sums with so many worked completions of each: counted up, or the bare result."""
    chance = random.Random(0)
    rows = []
    for _ in range(traces):
        for a, b in ((a, b) for a in range(20) for b in range(4, 9)):
            counted = " ".join(str(number) for number in range(a, a + b + 1))
            reasoning = str(a + b) if chance.random() < BARE_SHARE else counted
            completion = f"<think>{reasoning}</think><answer>{a + b}</answer>"
            rows.append({"question": f"{a} + {b} =", "answer": str(a + b), "completion": completion})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
