"""What following heads costs: of a quickstart's time, and of a forward pass of larger shapes.

    python tests/benchmarks/tracking_cost.py [--seeds 0] [--shapes small qwen3-0.6b] [--tokens 512] [--rounds 5]

`share` is the time that a run spent measuring heads, at the default interval, in all of its time, from its own
metrics.jsonl, stage by stage. `ratio` is a pass that measures every head of every layer, on texts of `--tokens`, to the
same pass without, interleaved, paired, medians. A measurement of n + n texts every m steps then comes to
2 n ratio / (m R 3) of the passes of steps with R rollouts, forward and back, before any generation of tokens: `of
steps` says it for R = 64 and the default n and m. Prints tables, and last one line of JSON.
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

os.environ.setdefault("KINETO_LOG_LEVEL", "5")

import torch
from credit_overhead import SHAPES, now
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl.attention import ScoreReader, num_layers, read, run
from rl.recipe.sections import Heads

RHYTHM = Path(sys.executable).with_name("rhythm")
ROLLOUTS, PASSES = 64, 3  # of a step, and what going forward and back takes in forward passes


def shares(seed: int, folder: Path) -> dict[str, float]:
    """Return by stage the share of a quickstart's time in which heads were measured."""
    path = folder / str(seed)
    command = [RHYTHM, "train", "quickstart", "--run-dir", path, "--set", f"seed={seed}"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "WANDB_MODE": "offline"})
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {}
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        spent = sum(row.get("time/heads/seconds", 0.0) for row in own)
        found[stage] = spent / sum(row["time/step/seconds"] for row in own)
    return found


def ratio(shape: str, tokens: int, rounds: int, device: str) -> tuple[float, float]:
    """Return the seconds of a pass over one text that measures all heads, and its ratio to one that does not."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    config = Qwen3Config(vocab_size=1024, max_position_embeddings=65536, **SHAPES[shape])
    model = Qwen3ForCausalLM(config).to(device, dtype).eval()
    ids = torch.randint(3, 1000, (1, tokens), device=device)
    mask, layers = torch.ones_like(ids), range(num_layers(model))
    response = mask.bool()
    response[:, : tokens // 4] = False
    sentences = [[(start, start + 16) for start in range(tokens // 4, tokens - 16, 16)]]
    needle = ~response
    pairs = []
    for number in range(rounds + 1):
        start = now()
        run(model, ids, mask, max(layers), None)
        between = now()
        reader = ScoreReader(response, sentences=sentences, needle=needle, input_ids=ids, credited=response)
        read(model, ids, mask, layers, reader)
        reader.scores()
        if number:  # the first round warms up
            pairs.append((now() - between, between - start))
    return statistics.median(one for one, _ in pairs), statistics.median(one / other for one, other in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for stage, share in shares(seed, Path(folder)).items():
                print(f"seed {seed}, {stage:>5}: {share:.2%} of its time", flush=True)
                figures[f"quickstart.{seed}.{stage}.share"] = round(share, 5)
    defaults = Heads()
    for shape in options.shapes:
        seconds, times = ratio(shape, options.tokens, options.rounds, options.device)
        of_steps = 2 * defaults.sequences * times / (defaults.every * ROLLOUTS * PASSES)
        print(f"{shape:>12}: {seconds:.3f} s a text, {times:.2f} times its pass, {of_steps:.2%} of steps", flush=True)
        figures |= {f"{shape}.seconds": round(seconds, 4), f"{shape}.ratio": round(times, 3)}
        figures[f"{shape}.of_steps"] = round(of_steps, 5)
    about = {"benchmark": "tracking_cost", "cores": os.cpu_count(), "device": options.device, "tokens": options.tokens}
    print(json.dumps({**about, "seconds": round(time.perf_counter() - start, 1), **figures}))


if __name__ == "__main__":
    main()
