"""What reading WAAD and FAI costs beside a forward pass, and beside eager attention maps: paired, interleaved, medians.

    python tests/benchmarks/bench_attention.py [--lengths 512 1024 2048] [--repeats 5]

Arms: forward (sdpa, no probe), probed (the same forward with the probe on it), maps (eager, output_attentions, then the
definitions on T x T maps). Prints a table, and last one line of JSON with the ratios to forward.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl.attention import Heads, RhythmReader, probe

WINDOW, HORIZON = 10, (10, 100)
HEADS = Heads(local=((4, 0), (5, 1), (6, 2)), global_=((4, 3), (6, 5), (8, 7)))


def build() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=1024,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=65536,
    )
    return Qwen3ForCausalLM(config).eval()


def forward(model: Qwen3ForCausalLM, ids: torch.Tensor) -> None:
    model(input_ids=ids, use_cache=False)


def probed(model: Qwen3ForCausalLM, ids: torch.Tensor) -> None:
    reader = RhythmReader(HEADS, torch.ones_like(ids, dtype=torch.bool), WINDOW, HORIZON)
    with probe(model, HEADS.layers, reader):
        forward(model, ids)
    reader.rhythm()


def maps(model: Qwen3ForCausalLM, ids: torch.Tensor) -> None:
    model.set_attn_implementation("eager")
    try:
        attentions = model(input_ids=ids, use_cache=False, output_attentions=True).attentions
        length = ids.shape[1]
        t = torch.arange(length)
        distance = (t[:, None] - t[None, :]).clamp(0, WINDOW).float()
        sum((attentions[layer][:, head] * distance).sum(-1) for layer, head in HEADS.local)
        band = (t[:, None] - t[None, :] >= HORIZON[0]) & (t[:, None] - t[None, :] <= HORIZON[1])
        sum((attentions[layer][:, head] * band).sum(-2) for layer, head in HEADS.global_)
    finally:
        model.set_attn_implementation("sdpa")


ARMS: dict[str, Callable[[Qwen3ForCausalLM, torch.Tensor], None]] = {"forward": forward, "probed": probed, "maps": maps}


@torch.no_grad()
def measure(model: Qwen3ForCausalLM, length: int, repeats: int) -> dict[str, list[float]]:
    ids = torch.randint(0, 1024, (1, length), generator=torch.Generator().manual_seed(length))
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    for repeat in range(repeats + 1):
        for name, arm in ARMS.items():
            start = time.perf_counter()
            arm(model, ids)
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    model, ratios = build(), {}
    print(f"{'T':>6} {'forward ms':>11} {'probed ms':>11} {'maps ms':>11} {'probed/forward':>15} {'maps/forward':>13}")
    for length in options.lengths:
        seconds = measure(model, length, options.repeats)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        paired = {
            name: statistics.median(a / b for a, b in zip(seconds[name], seconds["forward"], strict=True))
            for name in ("probed", "maps")
        }
        columns = " ".join(f"{middle[name] * 1e3:>11.1f}" for name in ARMS)
        print(f"{length:>6} {columns} {paired['probed']:>15.3f} {paired['maps']:>13.3f}")
        ratios |= {f"{name}.{length}.forward_ratio": round(ratio, 4) for name, ratio in paired.items()}
    print(
        json.dumps({"benchmark": "attention", "threads": torch.get_num_threads(), "repeats": options.repeats, **ratios})
    )


if __name__ == "__main__":
    main()
