"""How long a person waits for `rhythm --help` and `rhythm check`: medians of fresh processes, interleaved.

    python tests/benchmarks/startup.py [--repeats 7]

Prints a table, and last one line of JSON in seconds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RHYTHM = Path(sys.executable).with_name("rhythm")
ARMS = {"help": ["--help"], "check": ["check", "quickstart"], "recipes": ["recipes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    for _ in range(repeats):
        for name, words in ARMS.items():
            start = time.perf_counter()
            subprocess.run([RHYTHM, *words], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    print(f"{'command':<10} {'median s':>9} {'worst s':>9}")
    for name, values in seconds.items():
        print(f"{name:<10} {statistics.median(values):>9.3f} {max(values):>9.3f}")
    medians = {f"{name}.seconds": round(statistics.median(values), 3) for name, values in seconds.items()}
    print(json.dumps({"benchmark": "startup", "repeats": repeats, **medians}))


if __name__ == "__main__":
    main()
