"""Make a synthetic run directory, only for developing and testing the report: none of its numbers are real."""

import argparse
import json
import math
import random
from pathlib import Path
from typing import Any

HOSTILE = [
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror='window.pwned=1'>",
    "\u2028\u2029",
    '"',
    "'",
    "\x00",
    "\u202eevil",
    "\ud800",
    "{{ 7*7 }}",
    "<!--",
    "&lt;b&gt;",
    "\ufffd",
    "\U0001f600",
    "javascript:alert(1)",
]
WORDS = [
    " First",
    " we",
    " need",
    " to",
    " find",
    " how",
    " many",
    " apples",
    " are",
    " left",
    ".",
    " She",
    " has",
    " 12",
    " and",
    " gives",
    " away",
    " 5",
    ",",
    " so",
    " 12",
    " -",
    " 5",
    " =",
    " 7",
    ".",
    "\n\n",
    "Then",
    " she",
    " buys",
    " 3",
    " more",
    " bags",
    " of",
    " 4",
    ":",
    " 3",
    " *",
    " 4",
    " =",
    " 12",
    ".",
    "\n",
    "  ",
    "So",
    " the",
    " total",
    " is",
    " 7",
    " +",
    " 12",
    " =",
    " 19",
    ".",
    "\n\n",
    "Wait",
    ",",
    " let",
    " me",
    " check",
    " that",
    " again",
    ".",
    " Yes",
    ",",
    " the",
    " numbers",
    " agree",
    ".",
    "\n",
    "\t",
    "<answer>",
    "19",
    "</answer>",
]


def make_run(root: Path, samples: int = 200, tokens: int = 60, hostile: bool = False, seed: int = 7) -> Path:
    """Write a whole run directory under root."""
    chance = random.Random(seed)
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.json").write_text(json.dumps(recipe(seed), indent=1))
    (root / "environment.json").write_text(json.dumps(environment(seed), indent=1))
    write_lines(root / "metrics.jsonl", sft_rows(chance, 60) + grpo_rows(chance, 240), torn=True)
    rows = [sample_row(chance, place, samples, tokens) for place in range(samples)]
    if hostile:
        rows.insert(0, hostile_row(rows[0]))
    write_lines(root / "samples.jsonl", rows)
    write_lines(root / "heads.jsonl", head_rows(chance))
    (root / "gaze.json").write_text(json.dumps(gaze(chance, hostile)))
    return root


def write_lines(path: Path, rows: list[dict[str, Any]], torn: bool = False) -> None:
    """Write one object a line; a torn file ends in half a line, as after a kill."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text + ('{"stage": "grpo", "st' if torn else ""))


def recipe(seed: int) -> dict[str, Any]:
    """Return a recipe of the shape the pipeline resolves."""
    return {
        "name": "gsm8k-rhythm",
        "seed": seed,
        "model": {"name": "Qwen/Qwen2.5-0.5B-Instruct", "dtype": "bfloat16"},
        "data": {"name": "gsm8k", "split": "train", "limit": 2000},
        "credit": {"kind": "attention", "gamma": 1.5, "anchor_share": 0.4, "window": 10},
        "rewards": [{"kind": "answer", "weight": 1.0}, {"kind": "format", "weight": 0.1}],
        "telemetry": {"heads_every": 40, "local_share": 0.3, "global_share": 0.3},
        "checkpoints": {"every": 50, "keep": 2},
        "stages": [
            {"name": "sft", "trainer": {"kind": "sft", "steps": 60, "learning_rate": 1e-5, "batch": 16}},
            {"name": "grpo", "trainer": {"kind": "grpo", "steps": 300, "group": 8, "clip": 0.2, "kl": 0.01}},
        ],
    }


def environment(seed: int) -> dict[str, Any]:
    """Return an environment of the shape the pipeline records."""
    return {
        "started": "2026-05-14 09:12 UTC",
        "seed": seed,
        "commit": "4f1c2ab97d0e5b3a",
        "command": "rl train gsm8k.yaml",
        "hardware": {"gpu": "NVIDIA H200", "count": 1},
        "versions": {"python": "3.11.7", "torch": "2.9.0"},
    }


def sft_rows(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return supervised steps whose loss falls."""
    return [
        {
            "stage": "sft",
            "step": step,
            "optimizer/loss/mean": 0.6 + 1.4 * math.exp(-step / 15) + chance.gauss(0, 0.05),
            "policy/entropy/mean": 0.9 - 0.004 * step + chance.gauss(0, 0.02),
            "policy/token_accuracy/mean": 0.86 - 0.3 * math.exp(-step / 15) + chance.gauss(0, 0.01),
            "optimizer/grad_norm/mean": 1.2 + chance.random(),
            "time/step/seconds": 1.8 + chance.random(),
            "time/tokens/per_second": 14000 + 900 * chance.random(),
        }
        for step in range(1, count + 1)
    ]


def grpo_rows(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return policy steps whose reward rises and levels off."""
    rows = []
    for step in range(1, count + 1):
        answer = min(1.0, max(0.0, 0.28 + 0.5 * (1 - math.exp(-step / 80)) + chance.gauss(0, 0.06)))
        form = min(1.0, 0.4 + 0.6 * (1 - math.exp(-step / 20)) + chance.gauss(0, 0.02))
        length = 180 + 60 * (1 - math.exp(-step / 100)) + chance.gauss(0, 8)
        rows.append(
            {
                "stage": "grpo",
                **(
                    {"heads/turnover/share": chance.random() / 2, "heads/drifted/share": step / 480}
                    if step % 48 == 0
                    else {}
                ),
                "step": step,
                "reward/total/mean": answer + 0.1 * form,
                "reward/total/std": 0.4,
                "reward/answer/mean": answer,
                "reward/format/mean": form,
                "rollout/length/mean": length,
                "rollout/length/min": int(length * 0.4),
                "rollout/length/max": min(512, int(length * (1.9 + chance.random()))),
                "rollout/truncated/share": max(0.0, 0.06 * math.exp(-step / 50) + chance.gauss(0, 0.004)),
                "policy/entropy/mean": 0.62 * math.exp(-step / 260) + chance.gauss(0, 0.015),
                "policy/kl/mean": None if step < 3 else 0.0003 * step + chance.random() * 0.004,
                "policy/clip/share": 0.02 + 0.02 * chance.random(),
                "credit/weight/mean": 1.16 + chance.gauss(0, 0.01),
                "credit/selected/share": 0.4 + chance.gauss(0, 0.004),
                "credit/anchor/share": 0.31 + chance.gauss(0, 0.01),
                "credit/dominated/share": 0.09 + chance.gauss(0, 0.006),
                "optimizer/loss/mean": chance.gauss(0, 0.02),
                "optimizer/grad_norm/mean": 0.3 + 0.2 * chance.random(),
                "optimizer/learning_rate/last": 1e-6 * min(1, step / 20),
                "time/step/seconds": 21 + 4 * chance.random(),
                "time/tokens/per_second": 5200 + 600 * chance.random(),
            }
        )
    for row in rows[47::48]:
        row |= {"heads/turnover/share": chance.random() / 2, "heads/drifted/share": row["step"] / 480}
    return rows


def sample_row(chance: random.Random, place: int, samples: int, count: int) -> dict[str, Any]:
    """Return one sample; every ninth is of uniform credit and has no scores."""
    step = 1 + (place // 8 * 8 * 240 // samples)
    tokens = [WORDS[index % len(WORDS)] for index in range(max(4, count + chance.randint(-count // 3, count // 3)))]
    right = chance.random() < 0.35 + step / 500
    waad = [
        6.5 + 4 * math.sin(i / 3.1) + (3 if "\n" in t or "." in t else 0) + chance.random() * 2
        for i, t in enumerate(tokens)
    ]
    fai = [
        0.02 / (1 + i / 14) + (0.03 if chance.random() < 0.12 else 0.004 * chance.random()) for i in range(len(tokens))
    ]
    turn = [abs(after - before) for before, after in zip(waad, waad[1:] + waad[-1:], strict=True)]
    anchor, preplan = top(fai), top(turn)
    scored = place % 9 != 8
    total = {"total": 1.1 if right else 0.1, "answer": 1.0 if right else 0.0, "format": 1.0}
    return {
        "stage": "grpo",
        "step": step,
        "group": place // 4 % 2,
        "prompt": f"Problem {place // 4}: Mia has 12 apples, "
        "gives away 5, then buys 3 bags of 4. How many apples does she have?\nThink, then answer in <answer></answer>.",
        "completion": "".join(tokens),
        "answer": "19",
        "reward": total,
        "advantage": 0.87 if right else -1.14,
        "truncated": chance.random() < 0.05,
        "tokens": tokens,
        "waad": waad if scored else None,
        "fai": fai if scored else None,
        "weight": [1.5 if i in anchor else 1.0 for i in range(len(tokens))] if scored else None,
        "anchor": sorted(anchor) if scored else None,
        "preplan": sorted(preplan) if scored else None,
    }


def top(values: list[float], share: float = 0.4) -> set[int]:
    """Return the places of the largest values."""
    return set(sorted(range(len(values)), key=lambda i: -values[i])[: int(share * len(values))])


def hostile_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sample whose every text tries to break the page."""
    text, count = "".join(HOSTILE), len(HOSTILE)
    scores = {"waad": [float(i) for i in range(count)], "fai": [i / 99 for i in range(count)], "weight": [1.0] * count}
    return {
        **row,
        "prompt": text,
        "completion": text,
        "answer": text,
        "tokens": HOSTILE,
        **scores,
        "anchor": [0, 1],
        "preplan": [2, 99],
        "reward": {"total": 1.1, "answer": None, text: 0.5, "__proto__": 1},
    }


LAYERS, HEADS = 24, 14


def head_rows(chance: random.Random) -> list[dict[str, Any]]:
    """Return head scores at six steps, drifting slowly, on the probe set and on rollouts."""
    base = [
        [math.exp(chance.gauss(2.6 + 0.9 * math.sin(layer / 4), 0.7)) for _ in range(HEADS)] for layer in range(LAYERS)
    ]
    rows = []
    for step in range(0, 241, 48):
        for source in ("probe", "rollouts") if step else ("probe",):
            now = [[value * math.exp(chance.gauss(0, 0.12)) for value in row] for row in base]
            order = sorted(value for row in now for value in row)
            near, far = order[int(0.3 * len(order))], order[-int(0.3 * len(order))]
            scores = {
                "distance": now,
                "entropy": [[math.log(1 + value) for value in row] for row in now],
                "sink": [[chance.random() ** 4 for _ in row] for row in now],
                "receiver": [
                    [None if layer % 5 == 0 else chance.gauss(1, 2) for _ in row] for layer, row in enumerate(now)
                ],
                "retrieval": [[chance.random() ** 9 for _ in row] for row in now],
                "drift": [[0.04 * step * chance.random() for _ in row] for row in now],
                "local": [[float(value < near) for value in row] for row in now],
                "global": [[float(value >= far) for value in row] for row in now],
            }
            place = {"stage": "grpo", "step": step, "source": source}
            rows += [
                {**place, "score": score, "layer": layer, "values": row}
                for score, grid in scores.items()
                for layer, row in enumerate(grid)
            ]
    return rows


def gaze(chance: random.Random, hostile: bool) -> dict[str, Any]:
    """Return where each head looks in a text, from its tenth token on."""
    tokens = [*WORDS, *HOSTILE] if hostile else WORDS
    rows = range(10, len(tokens))
    peaks = {layer: [[chance.randrange(row + 1) for row in rows] for _ in range(HEADS)] for layer in range(LAYERS)}
    tops = {layer: [[round(chance.random(), 3) for _ in rows] for _ in range(HEADS)] for layer in range(LAYERS)}
    return {"stage": "grpo", "step": 240, "tokens": tokens, "first": 10, "peaks": peaks, "tops": tops}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--hostile", action="store_true")
    options = parser.parse_args()
    print(make_run(options.root, options.samples, options.tokens, options.hostile))
