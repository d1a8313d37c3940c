"""A decoder written out edge by edge, as it is read: every destination has a residual stream of its own. Slow."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Writes = dict[str, Tensor]
See = Callable[[str, Writes], Tensor]
"""From a destination's name and what was written before it to what it reads."""


def everything(_: str, written: Writes) -> Tensor:
    """Read the residual stream as it is."""
    return torch.stack(list(written.values())).sum(0)


def run(model: Any, start: Tensor, see: See = everything) -> tuple[Tensor, Writes]:
    """Return the logits behind the last token, and what every node writes, from embeddings (T, N) in float64.

    Sources: "input", "0.1" (a head), "mlp0". Destinations: "0.1q", "0.0k" and "0.0v" of a key-value head, "mlp0",
    "logits".
    """
    model = model.double()
    written: Writes = {"input": start.double()}
    for place, block in enumerate(model.model.layers):
        both = hasattr(block, "pre_feedforward_layernorm")
        heads = _attend(model, place, block, written, see)
        if both:
            weight, total = 1 + block.post_attention_layernorm.weight, sum(heads.values())
            rho = (total.pow(2).mean(-1, keepdim=True) + block.post_attention_layernorm.eps).sqrt()
            heads = {name: one * weight / rho for name, one in heads.items()}
        reads = block.pre_feedforward_layernorm if both else block.post_attention_layernorm
        written = {**written, **heads}
        out = block.mlp(reads(see(f"mlp{place}", written)))
        written[f"mlp{place}"] = block.post_feedforward_layernorm(out) if both else out
    logits = model.lm_head(model.model.norm(see("logits", written)))[-1]
    cap = getattr(model.config, "final_logit_softcapping", None)
    return (cap * torch.tanh(logits / cap) if cap else logits), written


def _attend(model: Any, place: int, block: Any, written: Writes, see: See) -> Writes:
    config, attention = model.config, block.self_attn
    size, group = attention.head_dim, config.num_attention_heads // config.num_key_value_heads
    length = written["input"].shape[0]
    cos, sin = (one[0] for one in model.model.rotary_emb(written["input"][None], torch.arange(length)[None]))

    def part(name: str, head: int, kind: str) -> Tensor:
        own = slice(head * size, (head + 1) * size)
        projection = getattr(attention, f"{kind}_proj")
        bias = None if projection.bias is None else projection.bias[own]
        found = F.linear(block.input_layernorm(see(name, written)), projection.weight[own], bias)
        if kind == "v":
            return found
        norm = getattr(attention, f"{kind}_norm", None)
        found = found if norm is None else norm(found)
        left, right = found.chunk(2, -1)
        return found * cos + torch.cat([-right, left], -1) * sin

    back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
    sliding = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    seen = (back >= 0) & (back < sliding) if sliding else back >= 0
    cap, found = getattr(config, "attn_logit_softcapping", None), {}
    for head in range(config.num_attention_heads):
        q = part(f"{place}.{head}q", head, "q")
        k, v = (part(f"{place}.{head // group}{kind}", head // group, kind) for kind in "kv")
        scores = q @ k.mT * attention.scaling
        scores = cap * torch.tanh(scores / cap) if cap else scores
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        own = slice(head * size, (head + 1) * size)
        found[f"{place}.{head}"] = F.linear(weights @ v, attention.o_proj.weight[:, own])
    return found


def edges(model: Any) -> list[tuple[str, str]]:
    """Return all edges, in the order of sources and then of destinations, by their names."""
    config = model.config
    destinations, sources = [], [("input", 0)]
    for place in range(config.num_hidden_layers):
        destinations += [f"{place}.{head}q" for head in range(config.num_attention_heads)]
        destinations += [f"{place}.{head}{kind}" for kind in "kv" for head in range(config.num_key_value_heads)]
        sources += [(f"{place}.{head}", len(destinations)) for head in range(config.num_attention_heads)]
        destinations.append(f"mlp{place}")
        sources.append((f"mlp{place}", len(destinations)))
    destinations.append("logits")
    return [(source, destination) for source, first in sources for destination in destinations[first:]]
