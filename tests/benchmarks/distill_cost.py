"""What distilling costs: rows a second end to end with a small teacher, sentences a second, memory over many rows.

    python tests/benchmarks/distill_cost.py                 # prints a table, and a line of JSON at the end
    python tests/benchmarks/distill_cost.py --rows 100000   # of the part without a teacher

Memory is the process's own, by its resident set, after each tenth of the rows.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rewards import Rubric, find
from rewards.echoes import Rule
from rewards.echoes import find as find_echo
from rewards.sentences import overlaps
from rl import tiny
from rl.data import Task
from rl.distill.leaks import HeldOut
from rl.distill.make import Plan, make
from rl.distill.teachers import TransformersTeacher
from rl.distill.versions import Verifier
from rl.echo.openings import Neutral
from rl.endpoint import Answer, Failure, Request

TOKENIZER = tiny.build_tokenizer()


class Recited:
    """Answer at once, from the question: what is measured is all but the teacher."""

    together = False

    def ask(self, requests: Mapping[str, Request], heard: Callable[[str, Answer | Failure], None]) -> None:
        """Answer every other question with an echo."""
        for key, request in requests.items():
            words = request.messages[-1]["content"].split()
            n = int(words[2])
            echo = f"Tom has {n} apples and buys 4 more. " if n % 2 else ""
            heard(key, Answer(f"<think>{echo}First, {n} + 4 = {n + 4}.</think><answer>{n + 4}</answer>"))


def plan_of(rows: int) -> Plan:
    tasks = [Task(f"rows:{n}", f"Tom has {n} apples. He buys 4 more. How many?", str(n + 4)) for n in range(rows)]
    return Plan(tasks, None, HeldOut([], 13), 1, 1, 0.7, 0, 5, by_teacher=False, teacher="small")


def verifier() -> Verifier:
    rubric = Rubric({"answer": find("answer")(), "format": find("format")()}, {"answer": 1.0, "format": 0.2})
    neutral = Neutral(lambda text: len(TOKENIZER(text, add_special_tokens=False)["input_ids"]))  # pyright: ignore
    return Verifier(rubric, Rule(), overlaps, neutral)


def resident() -> float:
    """Return the resident set, in MB."""
    fields = Path("/proc/self/status").read_text(encoding="utf-8").split("VmRSS:")[1].split()
    return int(fields[0]) / 1024


def many_rows(rows: int) -> dict[str, float]:
    """Make all three sets of so many rows without a model."""
    sizes: list[float] = []
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if done % max(1, 2 * rows // 20) == 0:
            sizes.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        plan, judge = plan_of(rows), verifier()
        began, cpu = time.monotonic(), time.process_time()
        sets = make(plan, Recited(), judge, Path(folder), {"recipe": "bench"}, lambda *_: None, tell)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    assert sets.pairs == rows, sets.dropped
    half = len(sizes) // 2
    return {
        "rows.per_second": round(rows / seconds, 1),
        "rows.per_cpu_second": round(rows / cpu, 1),
        "memory.first_mb": round(sizes[0], 1),
        "memory.calls_end_mb": round(sizes[half - 1], 1),
        "memory.last_mb": round(sizes[-1], 1),
    }


def with_teacher(rows: int) -> dict[str, float]:
    """Ask an untrained small model, which is right about nothing: what a call and its verification take."""
    torch.set_num_threads(1)
    teacher = TransformersTeacher(tiny.build_model(0), TOKENIZER, 64)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        make(plan_of(rows), teacher, verifier(), Path(folder), {"recipe": "bench"}, lambda *_: None, lambda: None)
        return {"teacher.rows_per_second": round(rows / (time.monotonic() - began), 2)}


def detection(rounds: int) -> dict[str, float]:
    """Find the echo of traces of some forty sentences."""
    question = "Tom has 3 apples. He buys 4 more. How many apples does he have?"
    work = " ".join(f"Then {n} + 4 = {n + 4}, which is one step more." for n in range(40))
    found = []
    for _ in range(rounds):
        began = time.monotonic()
        for _ in range(500):
            assert find_echo(question, f"{question} {work}") is not None
        found.append(500 / (time.monotonic() - began))
    return {"detection.rows_per_second": round(statistics.median(found), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    found = {**detection(options.rounds), **with_teacher(32), **many_rows(options.rows)}
    for name, value in found.items():
        print(f"{name:28} {value:>12,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
