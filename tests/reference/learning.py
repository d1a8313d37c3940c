"""Runs in which the embedded model learns a method through the real command, and what to read of them.

python tests/reference/learning.py effort|monitor FOLDER [--seed 0]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference.command import RHYTHM
from reference.lengths import EFFORTS, WORDS, write_questions, write_rows

MEANT = 0.5  # of the warm-up's words
EFFORT = """\
base: effort-grpo
name: effort-tiny
model: {{name: tiny, dtype: float32, gradient_checkpointing: false}}
data: {{kind: jsonl, path: {questions}, question: question, answer: answer}}
rewards:
  parts:
    format: {{weight: 0.2}}
effort: null
stages:
  - name: sft
    data: {{kind: jsonl, path: {rows}, completion: completion}}
    trainer:
      kind: sft
      steps: 400
      learning_rate: 1e-2
      schedule: cosine
      warmup_steps: 20
      batch: 32
      micro_batch: 32
      max_length: 120
      trl: {{adam_beta2: 0.98}}
  - name: grpo
    effort: {{kind: relative, wording: "{words}", values: {efforts}}}
    trainer:
      steps: 60
      prompts_per_step: 16
      num_generations: 8
      micro_batch: 128
      max_completion_length: 64
      learning_rate: 6e-4
      warmup_steps: 5
      schedule: constant
      temperature: 1.0
      beta: 0.0
      trl: null
telemetry: {{wandb: {{mode: disabled}}}}
"""


def effort_recipe(folder: Path) -> Path:
    """Write a recipe of effort-grpo on sums that pay for counting, after a warm-up that half teaches the words."""
    rows, questions = write_rows(folder / "rows.jsonl", 30, MEANT), write_questions(folder / "questions.jsonl")
    path = folder / "effort.yaml"
    path.write_text(EFFORT.format(rows=rows, questions=questions, words=WORDS, efforts=list(EFFORTS)), encoding="utf-8")
    return path


def learn(method: str, folder: Path, seed: int) -> list[dict]:
    """Train, and return the rows of the GRPO stage."""
    folder.mkdir(parents=True, exist_ok=True)
    words = (
        [effort_recipe(folder)] if method == "effort" else ["tiny-monitor", "--set", "telemetry.wandb.mode=disabled"]
    )
    command = [RHYTHM, "train", *words, "--run-dir", folder / "run", "--set", f"seed={seed}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["stage"] == "grpo"]


def mean(rows: Sequence[dict], key: str) -> float:
    """Return the mean of a metric over those rows that have it."""
    return fmean(row[key] for row in rows if key in row)


FIGURES = {
    "effort": (20, ("effort/length@0.4/mean", "effort/length@1.2/mean", "reward/total/mean", "reward/answer/mean")),
    "monitor": (5, ("monitor/violation/share", "reward/answer/mean", "monitor/agreement/share", "monitor/lambda/last")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=FIGURES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = learn(options.method, options.folder, options.seed)
    steps, keys = FIGURES[options.method]
    for key in keys:
        print(f"{key}: {mean(rows[:steps], key):.3f} -> {mean(rows[-steps:], key):.3f}")


if __name__ == "__main__":
    main()
