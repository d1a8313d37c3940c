"""What judging costs: 10,000 completions through each reward, and the share of a quickstart step that scoring takes.

    python tests/benchmarks/reward_cost.py [--completions 10000] [--rounds 5] [--steps 20]

Completions are of about 900 characters, eight to a task, one in two of them right. Answers are mixed as in
mathematics: 70 % numbers, 15 % fractions, units and per cent, 10 % intervals and sets, 5 % expressions that only
algebra can compare (each group brings its own, so nothing is asked twice but within a group). Rewards take turns; rates
are medians of rounds, p99 is over all completions of the median round. Must: answer >= 500/s, countdown and format >=
20,000/s, scoring <= 2 % of a step. Prints a table, and last one line of JSON.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rewards import Reward, Sample
from rewards.answer import Answer
from rewards.countdown import Countdown
from rewards.effort import Effort
from rewards.format import Format
from rewards.monitor import Monitor, own_label

RHYTHM = Path(sys.executable).with_name("rhythm")
GROUP = 8
MUST = {"answer": 500, "countdown": 20_000, "format": 20_000}
THOUGHT = "Let me think about this step by step, and check each of the steps before I go on to the next one. "


def answer_pair(chance: random.Random) -> tuple[str, str, str]:
    """Return a gold answer, another way to write it, and a wrong one."""
    a, b, c = chance.randint(2, 9999), chance.randint(2, 99), chance.randint(1, 9)
    kind = chance.choices(["number", "fraction", "collection", "expression"], [70, 15, 10, 5])[0]
    if kind == "number":
        return f"{a}", f"{a:,}.0", f"{a + c}"
    if kind == "fraction":
        return f"{a}/{b}", rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{a + c}}}{{{b}}}"
    if kind == "collection":
        return f"[{b}, {a + 100})", rf"\left[{b}, {a + 100}\right)", rf"\left[{b}, {a + 100}\right]"
    return f"{b}x + {a}", f"{a} + {b}x", f"{a} + {b + c}x"


def completion(answer: str) -> str:
    return f"<think>{THOUGHT * 9}</think><answer>{answer}</answer>"


def answer_samples(count: int) -> list[Sample]:
    chance = random.Random(0)
    samples = []
    while len(samples) < count:
        gold, right, wrong = answer_pair(chance)
        for _ in range(GROUP):
            samples.append(Sample("q", gold, completion(chance.choice([right, wrong]))))
    return samples[:count]


def countdown_samples(count: int) -> list[Sample]:
    chance = random.Random(1)
    samples = []
    for _ in range(count):
        a, b, c, d = (chance.randint(1, 99) for _ in range(4))
        facts = {"numbers": [a, b, c, d], "target": a * b + c - d}
        expression = chance.choice([f"({a} * {b}) + {c} - {d}", f"{a} * ({b} + {c}) - {d}"])
        samples.append(Sample("q", "", completion(expression), facts=facts))
    return samples


def told_samples(count: int) -> list[Sample]:
    chance = random.Random(2)
    return [
        Sample(
            "q",
            "1",
            f"<think>{THOUGHT * 9}</think><monitor>fair</monitor><label>safe</label><output>1</output>",
            length=chance.randint(1, 900),
            effort=0.5,
            average_length=400.0,
            verdict="safe",
        )
        for _ in range(count)
    ]


def arms(count: int) -> dict[str, tuple[Callable[[Sample], object], list[Sample]]]:
    told = told_samples(count)
    rewards: dict[str, tuple[Reward, list[Sample]]] = {
        "answer": (Answer(), answer_samples(count)),
        "countdown": (Countdown(), countdown_samples(count)),
        "format": (Format(), countdown_samples(count)),
        "effort": (Effort(), told),
        "monitor": (Monitor(), told),
    }
    return {**rewards, "own_label": (lambda sample: own_label(sample.completion), told)}


def timed(judge: Callable[[Sample], object], samples: list[Sample]) -> list[float]:
    seconds = []
    for sample in samples:
        start = time.perf_counter()
        judge(sample)
        seconds.append(time.perf_counter() - start)
    return seconds


def forget() -> None:
    """Empty the caches, so that every round pays for all it asks."""
    from rewards import symbolic, value

    symbolic._compare.cache_clear()
    value.read_value.cache_clear()


def scoring_share(steps: int) -> float:
    """Return the share of quickstart's GRPO steps that scoring takes, from metrics.jsonl."""
    changes = ["stages.sft.trainer.steps=2", f"stages.grpo.trainer.steps={steps}", "telemetry.wandb.mode=disabled"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        words = [word for change in changes for word in ("--set", change)]
        subprocess.run([RHYTHM, "train", "quickstart", "--run-dir", path, *words], check=True, capture_output=True)
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["stage"] == "grpo"]
    return statistics.median(row["time/scoring/seconds"] / row["time/step/seconds"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    runs: dict[str, list[list[float]]] = {}
    made = arms(options.completions)
    for judge, samples in made.values():
        judge(samples[0])
    made["answer"][0](Sample("q", "x + 1", completion("1 + x")))  # starts the process that does algebra
    for _ in range(options.rounds):
        for name, (judge, samples) in made.items():
            forget()
            runs.setdefault(name, []).append(timed(judge, samples))
    print(f"{'reward':<12} {'per second':>12} {'p99 ms':>9} {'must':>9}")
    figures: dict[str, float] = {}
    for name, rounds in runs.items():
        middle = sorted(rounds, key=sum)[len(rounds) // 2]
        rate, p99 = len(middle) / sum(middle), 1e3 * sorted(middle)[int(0.99 * len(middle))]
        print(f"{name:<12} {rate:>12,.0f} {p99:>9.3f} {MUST.get(name, ''):>9}")
        figures |= {f"{name}.per_second": round(rate), f"{name}.p99_ms": round(p99, 4)}
    share = scoring_share(options.steps)
    print(f"scoring takes {share:.2%} of a quickstart step (must: at most 2 %)")
    print(
        json.dumps({"benchmark": "reward_cost", "cores": os.cpu_count(), **figures, "scoring_share": round(share, 5)})
    )


if __name__ == "__main__":
    main()
