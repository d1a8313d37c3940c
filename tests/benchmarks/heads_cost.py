"""What attributing the edges of one checkpoint costs: seconds of a pair and step, and the most memory beside the model.

    python tests/benchmarks/heads_cost.py [--tokens 512] [--steps 2] [--rounds 3] [--arms tiny small] [--dtype float32]

Arms: `tiny`, the embedded model with 6 layers of 4 heads, and `small`, a random one in the shape of Qwen3-0.6B (28
layers of 16 heads). A round attributes one pair of texts that differ in one token, the recording of both texts' writes
counted in, and makes its forward and backward passes alone (`passes`). Seconds are medians. Prints a table, and last
one line of JSON.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler's own messages would break the table

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from rl import tiny
from rl.circuits.attribute import attribute
from rl.circuits.pairs import Pair

PAIRS, CHECKPOINT_STEPS = 16, 10  # what `rhythm heads` does for a checkpoint by default


def small() -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


BUILDERS: dict[str, Callable[[], PreTrainedModel]] = {"tiny": lambda: tiny.build_model(0), "small": small}


def pair(vocabulary: int, tokens: int) -> Pair:
    clean = torch.randint(3, vocabulary, (tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    return Pair("random", tuple(clean), (*clean[:-1], clean[-1] - 1))


def passes(model: PreTrainedModel, ids: torch.Tensor, steps: int) -> None:
    """Go forward and back as often as an attribution does, to the embeddings alone."""
    for _ in range(steps):
        start = model.get_input_embeddings()(ids).detach().requires_grad_()
        logits = model(inputs_embeds=start, use_cache=False, logits_to_keep=1).logits
        torch.autograd.grad(logits.logsumexp(-1).sum(), start)
    with torch.no_grad():
        for _ in range(2):
            model(input_ids=ids, use_cache=False, logits_to_keep=1)


def peak_extra(arm: Callable[[], object], device: str) -> int:
    """Return the most bytes of tensors that an arm holds at a time, beyond what was there before it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiled:
        arm()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(held, default=0)


def measure(name: str, tokens: int, steps: int, rounds: int, device: str, dtype: torch.dtype) -> dict[str, float]:
    torch.manual_seed(0)
    model = BUILDERS[name]().eval().to(device, dtype).requires_grad_(False)
    one = pair(model.config.vocab_size, tokens)
    ids = torch.tensor([one.clean], device=device)
    arms: dict[str, Callable[[], object]] = {
        "attribute": lambda: attribute(model, [one], steps=steps),
        "passes": lambda: passes(model, ids, steps),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(rounds + 1):
        for arm, run in arms.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if number or rounds == 0:  # the first round warms up
                seconds[arm].append(time.perf_counter() - start)
    each = statistics.median(seconds["attribute"]) / steps
    ratios = [one / other for one, other in zip(seconds["attribute"], seconds["passes"], strict=True)]
    return {
        "seconds_a_pair_and_step": round(each, 4),
        "seconds_a_checkpoint": round(each * PAIRS * CHECKPOINT_STEPS, 1),
        "passes_ratio": round(statistics.median(ratios), 3),
        "extra_mb": round(peak_extra(arms["attribute"], device) / 1e6, 1),
        "passes_extra_mb": round(peak_extra(arms["passes"], device) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="0: one, and none before it that warms up")
    parser.add_argument("--arms", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, help="float32 on a CPU, bfloat16 on a GPU")
    options = parser.parse_args()
    dtype = options.dtype or ("bfloat16" if options.device == "cuda" else "float32")
    chosen = (options.tokens, options.steps, options.rounds, options.device, getattr(torch, dtype))
    print(f"{'model':>8} {'s/pair/step':>12} {'s/checkpoint':>13} {'of passes':>10} {'extra MB':>9} {'passes MB':>10}")
    result = {}
    for name in options.arms:
        found = measure(name, *chosen)
        print(
            f"{name:>8} "
            + " ".join(f"{value:>{w}}" for value, w in zip(found.values(), (12, 13, 10, 9, 10), strict=True))
        )
        result |= {f"{name}.{key}": value for key, value in found.items()}
    about = {"benchmark": "heads_cost", "device": options.device, "dtype": dtype, "threads": torch.get_num_threads()}
    about |= {"tokens": options.tokens, "steps": options.steps, "rounds": options.rounds}
    print(json.dumps({**about, **result}))


if __name__ == "__main__":
    main()
