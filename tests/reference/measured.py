"""Run a recipe and measure the most memory that its tensors take at a time; print that and what is planned for it.

python tests/reference/measured.py RECIPE RUN PROMPT_TOKENS [KEY=VALUE ...]
"""

import itertools
import json
import sys
from pathlib import Path

import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from rl.processes.early import EarlySignal
from rl.processes.place import Place
from rl.recipe import load
from rl.run import train
from rl.sizing.gpus import GPUS
from rl.sizing.plan import plan_stage
from rl.sizing.trace import Traced


def peak_of(run: object) -> int:
    """Return the most bytes of tensors that exist at a time while a function runs."""
    assert callable(run)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiled:
        run()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(held, default=0)


def main() -> None:
    recipe = load(sys.argv[1], sys.argv[4:])
    prompt = int(sys.argv[3])
    tiles = 0 if torch.cuda.is_available() else 7
    planned = plan_stage(recipe, recipe.stages[-1], Traced(recipe), GPUS["h100"], 1, 1, prompt, tiles).options[0].parts
    early = EarlySignal()
    console = Console(quiet=True)
    measured = peak_of(
        lambda: train(recipe, Path(sys.argv[2]), resume=False, console=console, place=Place(), early=early)
    )
    print(json.dumps({"measured": measured, "planned": planned.peak, "parts": planned.gib()}))


if __name__ == "__main__":
    main()
