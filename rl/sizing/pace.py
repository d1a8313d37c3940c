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

    It takes `at_once` of its `sequences` in a forward pass. Of the `rollouts` that it generates at a time a step costs
    the `share`; each is read by `readings` other forward passes (old log-probs, reference).
    """

    sequences: int
    prompt: int
    completion: int
    rollouts: int = 0
    share: float = 1.0
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
    """Return seconds of an optimizer step by phase: generation, readings, training, communication, optimizer."""
    arithmetic, memory = gpu.tflops * 1e12 * ARITHMETIC, gpu.memory_gbps * 1e9 * TRAFFIC
    found = {
        "readings": load.share * load.readings * forward_flops(model, load.rollouts, load.tokens) / arithmetic,
        "training": forward_flops(model, load.sequences, load.tokens) * (4 if load.recomputes else 3) / arithmetic,
        "communication": _moved(model, load, zero, world) / (_link(gpu, nodes) * 1e9),
        "optimizer": OPTIMIZER_BYTES * model.trained / (world if zero else 1) / memory,
    }
    if not load.rollouts:
        return found
    width = model.pass_bytes
    cache = load.rollouts * (load.prompt + load.completion / 2) * model.layers * model.kv * width
    token = max((model.parameters * width + cache) / memory, 2.0 * model.parameters * load.rollouts / arithmetic)
    return {"generation": load.share * load.completion * token, **found}


OPTIMIZER_BYTES = 28.0  # that Adam reads and writes of a weight, its gradient and two moments, in float32


def _link(gpu: Gpu, nodes: int) -> float:
    return gpu.link_gbps if nodes == 1 else min(NETWORK_GBPS, gpu.link_gbps)


def _moved(model: Model, load: Load, zero: int, world: int) -> float:
    """Return the bytes that a process sends in a step.

    DDP reduces gradients once, in the weights' type; ZeRO in float32, from stage 2 on behind every micro-batch, and
    gathers new weights once, or under stage 3 for every forward and backward pass, readings and generation included.
    """
    if world == 1:
        return 0.0
    others, micro_batches = (world - 1) / world, load.sequences / load.at_once
    if zero == 0:
        return 2.0 * others * model.trained * model.weight_bytes
    reduced = 4.0 * model.trained * (micro_batches if zero > 1 else 2.0)
    read = load.share * load.readings * load.rollouts / load.at_once + (load.share if load.rollouts else 0.0)
    gathered = model.pass_bytes * (model.parameters * (2 * micro_batches + read) if zero == 3 else model.trained)
    return others * (reduced + gathered)
