"""Sums that the embedded model gets right by counting, and now and then at once: long reasoning that pays."""

import json
import random
from pathlib import Path

EFFORTS = (0.4, 1.2, 2.0)
WORDS = " Effort {effort}."
BARE_SHARE = 0.4


def write_rows(path: Path, traces: int, meant: float) -> Path:
    """Write 200 sums with so many worked completions of each: counted up, or the bare result.

    Each asks for an effort, in a share `meant` of them for one that fits, otherwise for any: a policy warmed up on them
    has seen the words, and hardly knows what they mean.
    """
    chance = random.Random(0)
    rows = []
    for _ in range(traces):
        for a, b in ((a, b) for a in range(40) for b in range(4, 9)):
            bare = chance.random() < BARE_SHARE
            reasoning = str(a + b) if bare else " ".join(str(number) for number in range(a, a + b + 1))
            fitting = EFFORTS[:1] if bare else EFFORTS[1:]
            effort = chance.choice(fitting if chance.random() < meant else EFFORTS)
            question = f"{a} + {b} =" + WORDS.replace("{effort}", f"{effort:g}")
            completion = f"<think>{reasoning}</think><answer>{a + b}</answer>"
            rows.append({"question": question, "answer": str(a + b), "completion": completion})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_questions(path: Path) -> Path:
    """Write the sums alone."""
    sums = [(a, b) for a in range(40) for b in range(4, 9)]
    rows = [{"question": f"{a} + {b} =", "answer": str(a + b)} for a, b in sums]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
