"""What checkpoints, the watchdog, a stop and a dead process cost, on real runs of the command.

    python tests/benchmarks/checkpoint_cost.py [--rounds 5] [--hidden 512]

- A checkpoint: seconds that the step waits for its writing, and seconds of sealing beside the next step (both as
  train.log has them), and their share of a step.
- The watchdog: seconds of one beat, against the median step.
- From SIGTERM to the end of the process, which in a job of Slurm's is when it can be requeued, and from the death of
  one of two processes to the end of the other: with Slurm, tests/end_to_end/test_slurm.py says both to freed nodes.

Prints a table, and last one line of JSON.
"""

import argparse
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference.command import overrides, rhythm, start, wait_for_rows
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl import tiny
from rl.processes.watchdog import Watchdog
from rl.telemetry.jsonl import read_rows

LINE = re.compile(r"checkpoint-\d+: written in ([\d.]+) s, sealed in ([\d.]+) s")
STEPS = 24


def build(folder: Path, hidden: int) -> int:
    """Write a model of that width and return its number of parameters."""
    tokenizer = tiny.build_tokenizer()
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def words(path: Path, model: Path, *changes: str) -> list[str | Path]:
    settings = (
        f"model.name={model}",
        "stages.sft.trainer.steps=1",
        "stages.sft.data.size=64",
        f"stages.grpo.trainer.steps={STEPS}",
        "stages.grpo.trainer.micro_batch=16",
        "stages.grpo.trainer.max_completion_length=48",
        "checkpoints.every=4",
        "data.size=256",
        "telemetry.wandb.mode=disabled",
    )
    return ["train", "quickstart", "--run-dir", path, *overrides(*settings, *changes)]


def checkpoints_of(folder: Path, model: Path) -> dict[str, float]:
    """Return what checkpoints cost a run."""
    path = folder / "checkpoints"
    done = rhythm(*words(path, model))
    assert done.returncode == 0, done.stderr
    steps = [row["time/step/seconds"] for row in read_rows(path / "metrics.jsonl") if row["stage"] == "grpo"]
    log = (path / "train.log").read_text(encoding="utf-8")
    saved = [(float(one), float(other)) for one, other in LINE.findall(log)]
    size = sum(file.stat().st_size for file in (path / "checkpoints/grpo/checkpoint-24").rglob("*"))
    plain = statistics.median(steps)
    written, sealed = (statistics.median(pair[index] for pair in saved[1:]) for index in (0, 1))
    return {
        "step.s": plain,
        "written.s": written,
        "sealed.s": sealed,
        "written.share": written / plain,
        "mb": size / 1e6,
    }


def beat_seconds() -> float:
    """Return the seconds of a watchdog's beat."""
    with tempfile.TemporaryDirectory() as folder, Watchdog(3600.0, say=print, tell=print) as dog:
        dog.arm(Path(folder) / "logs" / "stacks.txt")
        began = time.perf_counter()
        for _ in range(1000):
            dog.beat()
        return (time.perf_counter() - began) / 1000


def end_seconds(path: Path, model: Path, kill: bool, *changes: str) -> float:
    """Return the seconds from a signal to the end of all processes: SIGTERM, or with kill the death of process 1."""
    process = start(*words(path, model, "stages.grpo.trainer.steps=100000", *changes))
    wait_for_rows(path / "metrics.jsonl", 4, process)
    target = process.pid
    if kill:
        children = Path(f"/proc/{target}/task/{target}/children").read_text(encoding="utf-8").split()
        target = next(int(one) for one in children if b"\0RANK=1\0" in Path(f"/proc/{one}/environ").read_bytes())
    os.kill(target, signal.SIGKILL if kill else signal.SIGTERM)
    began = time.perf_counter()
    process.communicate(timeout=300)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = build(folder / "model", options.hidden)
        result = {"parameters": float(count), **checkpoints_of(folder, folder / "model")}
        result["beat.s"] = beat_seconds()
        result["beat.share"] = result["beat.s"] / result["step.s"]
        for kind, kill, changes in (("sigterm", False, ()), ("dead_process", True, ("cluster.processes=2",))):
            times = [
                end_seconds(folder / f"{kind}{i}", folder / "model", kill, *changes) for i in range(options.rounds)
            ]
            result[f"{kind}.end.s"] = statistics.median(times)
    for key, value in result.items():
        print(f"{key:20} {value:12.6g}")
    print(json.dumps({key: float(f"{value:.4g}") for key, value in result.items()}))


if __name__ == "__main__":
    main()
