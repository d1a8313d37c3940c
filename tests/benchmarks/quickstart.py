"""What a quickstart takes and earns: wall time of the command, and the reward of its last stage, on seeds 0, 1, 2.

    python tests/benchmarks/quickstart.py [--recipe quickstart quickstart-ppo] [--seeds 0 1 2]

`to 0.7` is the first step at which the mean reward of ten steps reaches 0.7. Recipes run in turn on each seed. Reads
metrics.jsonl. Prints a table, and last one line of JSON.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RHYTHM = Path(sys.executable).with_name("rhythm")


GOAL = 0.7


def run(recipe: str, seed: int, folder: Path) -> dict[str, float]:
    path = folder / f"{recipe}-{seed}"
    start = time.perf_counter()
    command = [RHYTHM, "train", recipe, "--run-dir", path, "--set", f"seed={seed}"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "WANDB_MODE": "offline"})
    seconds = time.perf_counter() - start
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rewards = [row["reward/total/mean"] for row in rows if row["stage"] == rows[-1]["stage"]]
    means = [statistics.mean(rewards[end - 10 : end]) for end in range(10, len(rewards) + 1)]
    there = next((step for step, mean in enumerate(means, 10) if mean >= GOAL), float("nan"))
    return {"seconds": seconds, "first": means[0], "last": means[-1], "rise": means[-1] - means[0], "steps_to": there}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", nargs="+", default=["quickstart", "quickstart-ppo"])
    options = parser.parse_args()
    print(f"{'recipe':>15} {'seed':>4} {'seconds':>8} {'first 10':>9} {'last 10':>9} {'rise':>7} {f'to {GOAL}':>7}")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed, recipe in itertools.product(options.seeds, options.recipe):
            found = run(recipe, seed, Path(folder))
            rewards = f"{found['first']:>9.3f} {found['last']:>9.3f} {found['rise']:>+7.3f} {found['steps_to']:>7.0f}"
            print(f"{recipe:>15} {seed:>4} {found['seconds']:>8.1f} {rewards}", flush=True)
            figures |= {f"{recipe}.{seed}.{name}": round(value, 3) for name, value in found.items()}
    print(json.dumps({"benchmark": "quickstart", "cores": os.cpu_count(), **figures}))


if __name__ == "__main__":
    main()
