"""Echo-distilled fine-tuning against its two controls on the embedded model, then GRPO from each: accuracy, refocusing.

A teacher (quickstart) writes the traces; each arm fine-tunes quickstart's SFT policy on one of the three sets, and goes
on with GRPO. What is there already is not made again. Prints a line of JSON for each arm and seed.

    python tests/reference/echo_study.py FOLDER [--seeds 3]
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference.command import RHYTHM

from rl.evaluation.suite import build_suite
from rl.recipe.suites import load_suite

ARMS = {"echo": "echo", "control": "plain", "matched": "matched"}
TASKS, PROMPTS, LONGEST = 256, 1000, 160
SFT = """\
base: quickstart
name: study-sft
model: {{name: {base}}}
stages:
  - name: sft
    data: {{kind: parquet, path: {data}, completion: completion}}
    trainer: {{steps: 150, learning_rate: 2e-3, max_length: 256, order: shuffled}}
"""


def rhythm(*words: str | Path) -> None:
    """Run a command to its end."""
    done = subprocess.run([RHYTHM, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


def sets(*changes: str) -> list[str]:
    """Return `--set` options."""
    return [word for change in changes for word in ("--set", change)]


def prepare(folder: Path) -> tuple[Path, Path]:
    """Train the teacher, and let it write traces to train on and traces of the held-out tasks; return both folders."""
    tasks = folder / "tasks.jsonl"
    if not tasks.exists():
        suite = build_suite(load_suite("quickstart", [f"data.size={TASKS}"]))
        rows = [{"question": task.question, "answer": task.answer} for task in suite.tasks]
        tasks.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    teacher, train, held_out = folder / "teacher", folder / "train", folder / "held_out"
    if not (teacher / "report.html").exists():
        rhythm("train", "quickstart", "--run-dir", teacher)
    said = f"distill.teacher={{kind: transformers, name: {teacher}}}"
    own = f"distill.held_out=[{{kind: jsonl, path: {tasks}}}]"
    common = ("distill.max_tokens=96",)
    if not (train / "echo.parquet").exists():
        more = ["--resume"] * (train / "recipe.json").exists()
        changes = sets(said, own, *common, f"data.size={PROMPTS}", "distill.traces=4", "distill.temperature=1.0")
        rhythm("distill", "quickstart", "--out", train, *more, *changes)
    if not (held_out / "echo.parquet").exists():
        more = ["--resume"] * (held_out / "recipe.json").exists()
        source = f"data={{kind: jsonl, path: {tasks}}}"
        rhythm("distill", "quickstart", "--out", held_out, *more, *sets(said, source, *common, "distill.traces=2"))
    return train, held_out


def evaluate(policy: Path, tasks: Path, out: Path, *words: str) -> dict[str, Any]:
    """Let a policy answer the held-out tasks and return what came of it."""
    if not (out / "results.json").exists():
        rhythm(
            *("eval", policy, "--suite", "quickstart", *sets(f"data={{kind: jsonl, path: {tasks}}}")),
            *("--max-tokens", str(LONGEST), "--batch", "64", "--out", out, *words),
        )
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))["results"]
    return {"accuracy": found["accuracy"]["mean"], "tokens": found["tokens"]["mean"], "cut": found["cut"]["mean"]}


def analyse(policy: Path, traces: Path, out: Path) -> dict[str, Any]:
    """Return gaps, and the attention to echo, control and question, mean over layers, in percent."""
    if not (out / "echo.json").exists():
        rhythm("analyze", "echo", policy, traces, "--recipe", "quickstart", "--batch", "32", "--out", out)
    found = json.loads((out / "echo.json").read_text(encoding="utf-8"))
    mean: dict[str, Any] = {"echoes": found["with_echo"] / found["traces"]}
    for name in ("gap", "suffix_gap"):
        for side in ("every", "difference"):
            value = found["figures"][name][side]
            mean[f"{name} {side}"] = value and [value["mean"], value["low"], value["high"]]
    for span, layers in found["attention"].items():
        for arm in ("echo", "control"):
            values = [layer[arm]["mean"] for layer in layers.values()]
            mean[f"to {span}, {arm}"] = 100 * sum(values) / len(values) if values else None
    return {**mean, "regression": found["regression"]}


def arm(folder: Path, name: str, seed: int, train: Path, held_out: Path) -> dict[str, Any]:
    """Run one arm with one seed and return its figures."""
    place, tasks = folder / f"{name}-{seed}", folder / "tasks.jsonl"
    place.mkdir(exist_ok=True)
    recipe = place / "sft.yaml"
    base = folder / "teacher" / "checkpoints" / "sft" / "final"
    recipe.write_text(SFT.format(base=base, data=train / f"{ARMS[name]}.parquet"), encoding="utf-8")
    if not (place / "sft" / "report.html").exists():
        rhythm("train", recipe, "--run-dir", place / "sft", *sets(f"seed={seed}"))
    policy = place / "sft" / "checkpoints" / "sft" / "final"
    found: dict[str, Any] = {"arm": name, "seed": seed, "sft": evaluate(policy, tasks, place / "eval-sft")}
    found["refocusing"] = analyse(policy, held_out / "echo.parquet", place / "held_out")
    sampled = ("--samples", "4", "--temperature", "1")
    evaluate(policy, tasks, place / "eval-sampled", *sampled)
    found["own traces"] = analyse(policy, place / "eval-sampled" / "generations.jsonl", place / "own")
    for what in ("question", "neutral", "nothing"):
        found[f"again {what}"] = evaluate(policy, tasks, place / f"eval-{what}", "--again", what)
    if not (place / "grpo" / "report.html").exists():
        data = f"data={{kind: parquet, path: {train / 'echo.parquet'}}}"
        changes = (f"seed={seed}", f"model.name={policy}", data, "stages=[{name: grpo}]")
        longest = ("stages.grpo.trainer.steps=60", "stages.grpo.trainer.max_completion_length=128")
        rhythm("train", "quickstart", "--run-dir", place / "grpo", *sets(*changes, *longest))
    trained = place / "grpo" / "checkpoints" / "grpo" / "final"
    found["grpo"] = evaluate(trained, tasks, place / "eval-grpo")
    found["refocusing after grpo"] = analyse(trained, held_out / "echo.parquet", place / "held_out-grpo")
    return found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--seeds", type=int, default=3)
    said = words.parse_args()
    os.environ.setdefault("WANDB_MODE", "offline")
    said.folder.mkdir(parents=True, exist_ok=True)
    train, held_out = prepare(said.folder.absolute())
    for seed in range(said.seeds):
        for name in ARMS:
            print(json.dumps(arm(said.folder.absolute(), name, seed, train, held_out)), flush=True)


if __name__ == "__main__":
    main()
