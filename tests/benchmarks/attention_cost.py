"""What measuring WAAD and FAI costs, beside eager attention maps and beside the forward pass: paired, interleaved.

    python tests/benchmarks/attention_cost.py [--lengths 512 1024 2048 4096 8192] [--repeats 5] [--device cpu]

Arms, each in the same rounds, on a random Qwen3-shaped model: `forward` (sdpa, the layers up to the last probed one),
`measure` (the same with WAAD and FAI read from it), `maps` (eager, output_attentions of the same layers, then the
definitions on T x T maps; left out where the maps would not fit). And from one pass' queries and keys of the probed
layers: `attention` (the kernel alone), `bands` (WAAD and FAI of the chosen heads, given lse) and `dense` (the same from
their T x T maps). Peak extra memory is what an arm holds beyond what was there before it. Prints a table, and last one
line of JSON.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # the profiler's own messages would break the table

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile
from transformers import Qwen3Config, Qwen3ForCausalLM

from rl.attention import Heads, RhythmReader, measure, probe, probed_layers, run
from rl.attention.layer import Attention

WINDOW, HORIZON = 10, (10, 100)
NUM_LAYERS, NUM_HEADS, NUM_KEY_HEADS, HEAD_DIM = 12, 8, 4, 64
LAYERS = probed_layers(NUM_LAYERS)
# Twelve local and twelve global heads of forty, 30 % each.
PLACES = [(layer, head) for layer in LAYERS for head in range(NUM_HEADS)]
HEADS = Heads(local=tuple(PLACES[0::10] + PLACES[3::5]), global_=tuple(PLACES[1::5] + PLACES[7::10]))
MAPS_LIMIT = {"cpu": 9 << 30, "cuda": 100 << 30}  # bytes of maps that are still tried


def build(device: str, dtype: torch.dtype) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=1024,
        hidden_size=NUM_HEADS * HEAD_DIM,
        intermediate_size=3 * NUM_HEADS * HEAD_DIM,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=NUM_HEADS,
        num_key_value_heads=NUM_KEY_HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=65536,
    )
    return Qwen3ForCausalLM(config).eval().to(device, dtype)


class Keep(RhythmReader):
    """Keep the queries, keys and log-sum-exps of a pass."""

    def read(self, layer: int, attention: Attention) -> None:
        self.kept = {**getattr(self, "kept", {}), layer: attention}


def forward(model: Qwen3ForCausalLM, ids: torch.Tensor) -> None:
    run(model, ids, torch.ones_like(ids), max(LAYERS), None)


def measured(model: Qwen3ForCausalLM, ids: torch.Tensor) -> None:
    ones = torch.ones_like(ids)
    measure(model, ids, ones, ones, heads=HEADS, window=WINDOW, horizon=HORIZON)


def definitions(attention: torch.Tensor) -> None:
    """Average WAAD and FAI over maps (B, H, T, T), as they are defined."""
    t = torch.arange(attention.shape[-1], device=attention.device)
    back = t[:, None] - t[None, :]
    (attention * back.clamp(0, WINDOW)).sum(-1).mean(1)
    band = (back >= HORIZON[0]) & (back <= HORIZON[1])
    ((attention * band).sum(-2) / band.sum(0).clamp_min(1)).mean(1)


def maps(model: Qwen3ForCausalLM, ids: torch.Tensor) -> None:
    model.set_attn_implementation("eager")
    layers = model.model.layers
    model.model.layers = layers[: max(LAYERS) + 1]
    try:
        attentions = model(input_ids=ids, use_cache=False, output_attentions=True, logits_to_keep=1).attentions
        for layer in LAYERS:
            chosen = [head for at, head in (*HEADS.local, *HEADS.global_) if at == layer]
            definitions(attentions[layer][:, chosen])
    finally:
        model.model.layers = layers
        model.set_attn_implementation("sdpa")


def peak_extra(arm: Callable[[], None], device: str) -> int:
    """Return the most bytes of tensors that an arm holds at a time, beyond what was there before it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiled:
        arm()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(held, default=0)


def arms(model: Qwen3ForCausalLM, ids: torch.Tensor) -> dict[str, Callable[[], None]]:
    ones = torch.ones_like(ids)
    keep = Keep(HEADS, ones.bool(), WINDOW, HORIZON)
    with probe(model, LAYERS, keep):
        forward(model, ids)
    group = NUM_HEADS // NUM_KEY_HEADS
    place = torch.arange(ids.shape[1], device=ids.device)
    later = place[None, :] > place[:, None]
    wide = {layer: one.k.repeat_interleave(group, 1) for layer, one in keep.kept.items()}

    def attention() -> None:
        for layer, one in keep.kept.items():
            scaled_dot_product_attention(one.q, wide[layer], wide[layer], is_causal=True)

    def dense() -> None:
        for layer, one in keep.kept.items():
            chosen = [head for at, head in (*HEADS.local, *HEADS.global_) if at == layer]
            scores = one.q[:, chosen] @ wide[layer][:, chosen].transpose(-1, -2) * one.scale
            definitions(scores.masked_fill_(later, -torch.inf).softmax(-1, dtype=torch.float32))

    def bands() -> None:
        reader = RhythmReader(HEADS, ones.bool(), WINDOW, HORIZON)
        reader.start(len(ids))
        for layer, one in keep.kept.items():
            reader.read(layer, one)
        reader.rhythm()

    found = {"forward": lambda: forward(model, ids), "measure": lambda: measured(model, ids)}
    found |= {"attention": attention, "bands": bands, "dense": dense}
    size = (max(LAYERS) + 1) * NUM_HEADS * ids.shape[1] ** 2 * model.dtype.itemsize
    return found | ({"maps": lambda: maps(model, ids)} if size < MAPS_LIMIT[ids.device.type] else {})


@torch.no_grad()
def compare(model: Qwen3ForCausalLM, length: int, repeats: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Return each arm's seconds by round, and its peak extra bytes in a round of its own."""
    device = model.device.type
    ids = torch.randint(0, 1024, (1, length), generator=torch.Generator().manual_seed(length)).to(device)
    chosen = arms(model, ids)
    wait = torch.cuda.synchronize if device == "cuda" else nullcontext
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for repeat in range(repeats + 1):
        for name, arm in chosen.items():
            wait()
            start = time.perf_counter()
            arm()
            wait()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds, {name: peak_extra(arm, device) for name, arm in chosen.items()}


def ratio(seconds: dict[str, list[float]], above: str, below: str) -> float | None:
    """Return the median over rounds of one arm's time in terms of another's."""
    if above not in seconds or below not in seconds:
        return None
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None, help="float32 on a CPU, bfloat16 on a GPU")
    options = parser.parse_args()
    longest = 32768 if options.device == "cuda" else 8192
    lengths = options.lengths or [length for length in (512, 1024, 2048, 4096, 8192, 16384, 32768) if length <= longest]
    dtype = options.dtype or ("bfloat16" if options.device == "cuda" else "float32")
    model = build(options.device, getattr(torch, dtype))
    columns = ("forward", "measure", "maps", "attention", "bands", "dense")
    heading = ("T", *(f"{name} ms" for name in columns), "measure MB", "bands MB", "maps MB")
    print(" ".join(f"{name:>12}" for name in heading))
    result: dict[str, object] = {}
    for length in lengths:
        seconds, memory = compare(model, length, options.repeats)
        times = [f"{statistics.median(seconds[name]) * 1e3:.1f}" if name in seconds else "-" for name in columns]
        sizes = [f"{memory[name] / 1e6:.0f}" if name in memory else "-" for name in ("measure", "bands", "maps")]
        print(" ".join(f"{value:>12}" for value in (str(length), *times, *sizes)), flush=True)
        found = {
            "measure.forward_ratio": ratio(seconds, "measure", "forward"),
            "maps.measure_ratio": ratio(seconds, "maps", "measure"),
            "dense.bands_ratio": ratio(seconds, "dense", "bands"),
            "bands.attention_ratio": ratio(seconds, "bands", "attention"),
        }
        result |= {f"{length}.{name}": round(value, 4) for name, value in found.items() if value is not None}
        result |= {f"{length}.{name}.extra_mb": round(size / 1e6, 1) for name, size in memory.items()}
    about = {"benchmark": "attention_cost", "device": options.device, "dtype": dtype}
    print(json.dumps({**about, "threads": torch.get_num_threads(), "repeats": options.repeats, **result}))


if __name__ == "__main__":
    main()
