"""Time of a step, by phase, as stated formulas in seconds: what each phase must compute or move, over what a GPU does.

Arithmetic counts two operations for each weight and token of a forward pass and four of a backward pass (arXiv
2001.08361), two more where activations are computed again, and 4 tokens^2 x hidden for each layer's attention, half of
it masked. Generation reads all weights and the cache for each token. Gradients and weights travel as ZeRO's paper has
it. The shares of a data sheet that are reached are in gpus.py.
"""

from dataclasses import dataclass

from rl.sizing.gpus import ARITHMETIC, NETWORK_GBPS, TRAFFIC, Gpu
from rl.sizing.memory import Model


@dataclass(frozen=True)
class Load:
    """Hold what one process has to do in an optimizer step: sequences, their longest prompt and completion, in tokens.

    `passes` counts training passes over the same rollouts, `readings` other forward passes (old log-probs, reference).
    """

    sequences: int
    prompt: int
    completion: int
    generated: bool
    passes: float = 1.0
    readings: int = 0
    recomputes: bool = False
    at_once: int = 1

    @property
    def tokens(self) -> int:
        """Count prompt and completion of a sequence."""
        return self.prompt + self.completion


def forward_flops(model: Model, sequences: int, tokens: int) -> float:
    """Return the operations of a forward pass."""
    return sequences * (2.0 * model.parameters * tokens + 2.0 * model.layers * model.hidden * tokens**2)


def phases(model: Model, load: Load, gpu: Gpu, zero: int, world: int, nodes: int) -> dict[str, float]:
    """Return seconds of a step by phase: generation, readings, training, communication, optimizer."""
    arithmetic, memory = gpu.tflops * 1e12 * ARITHMETIC, gpu.memory_gbps * 1e9 * TRAFFIC
    forward = forward_flops(model, load.sequences, load.tokens)
    link = (gpu.link_gbps if nodes == 1 else min(NETWORK_GBPS, gpu.link_gbps)) * 1e9
    width, micro_batches = model.pass_bytes, max(1, load.sequences // load.at_once)
    moved = 0.0
    if world > 1:
        gathers = 2 * micro_batches * model.parameters * width if zero == 3 else 0.0  # for each forward and backward
        moved = (2.0 * model.trained * width + gathers) * (world - 1) / world
    found = {
        "readings": load.readings * forward / arithmetic,
        "training": load.passes * forward * (4 if load.recomputes else 3) / arithmetic,
        "communication": load.passes * moved / link,
        "optimizer": 20.0 * model.trained / (world if zero else 1) / memory,
    }
    if not load.generated:
        return found
    cache = load.sequences * (load.prompt + load.completion / 2) * model.layers * model.kv * width
    reading = (model.parameters * width + cache) / memory
    computing = 2.0 * model.parameters * load.sequences / arithmetic
    fetching = model.parameters * width / link if zero == 3 and world > 1 else 0.0
    return {"generation": load.completion * max(reading, computing) + fetching, **found}
