"""What the quickstart takes and earns: wall time of the command, and GRPO's reward, on seeds 0, 1, 2 in turn.

    python tests/benchmarks/quickstart.py [--seeds 0 1 2]

Reads metrics.jsonl. Prints a table, and last one line of JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RHYTHM = Path(sys.executable).with_name("rhythm")


def run(seed: int, folder: Path) -> dict[str, float]:
    path = folder / str(seed)
    start = time.perf_counter()
    command = [RHYTHM, "train", "quickstart", "--run-dir", path, "--set", f"seed={seed}"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "WANDB_MODE": "offline"})
    seconds = time.perf_counter() - start
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rewards = [row["reward/total/mean"] for row in rows if row["stage"] == "grpo"]
    first, last = statistics.mean(rewards[:10]), statistics.mean(rewards[-10:])
    return {"seconds": seconds, "first": first, "last": last, "rise": last - first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    print(f"{'seed':>4} {'seconds':>8} {'first 10':>9} {'last 10':>9} {'rise':>7}")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            found = run(seed, Path(folder))
            rewards = f"{found['first']:>9.3f} {found['last']:>9.3f} {found['rise']:>+7.3f}"
            print(f"{seed:>4} {found['seconds']:>8.1f} {rewards}")
            figures |= {f"{name}.{seed}": round(value, 3) for name, value in found.items()}
    print(json.dumps({"benchmark": "quickstart", "cores": os.cpu_count(), **figures}))


if __name__ == "__main__":
    main()
