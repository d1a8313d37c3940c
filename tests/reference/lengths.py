"""Questions that the embedded model can learn by heart, with right answers in few words or many."""

import json
import random
from pathlib import Path

REMARKS = ("Let me see. ", "Let me think. ", "Now to work. ", "Well, here we go. ", "Okay, step by step. ")
MAX_REMARKS = 8


def write_rows(path: Path, traces: int) -> Path:
    """Write two dozen sums with so many worked completions of each: every length is as likely."""
    chance = random.Random(0)
    rows = []
    for _ in range(traces):
        for a, b in ((a, b) for a in range(2, 8) for b in range(1, 5)):
            remarks = "".join(chance.choice(REMARKS) for _ in range(chance.randint(0, MAX_REMARKS)))
            completion = f"<think>{remarks}So it is {a + b}.</think><answer>{a + b}</answer>"
            rows.append({"question": f"{a} + {b} =", "answer": str(a + b), "completion": completion})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
