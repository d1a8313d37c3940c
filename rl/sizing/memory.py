"""Memory of one GPU, by part, as stated formulas in bytes. P: parameters, T: those trained, N: processes.

Without DeepSpeed every process holds all: weights b P, gradients b T (twice under DDP, whose buckets are copies), and
Adam's two moments 2 b T. ZeRO (arXiv 1910.02054) keeps weights and gradients in the passes' type, and a float32 copy of
the trained weights with two moments, 12 T, which stage 1 shares out over N; stage 2 gradients too, stage 3 weights too,
of which two of the largest layers are there at a time. Activations are counted by tracing (trace.py); the head is
TRL's fused one, which keeps a tile of logits and a float32 gradient of its weights.
"""

from dataclasses import dataclass, fields
from typing import Literal

from rl.deepspeed import BUCKET

TILE_TOKENS, TILE_WIDTH = 4096, 32768  # TRL's fused head: tokens and vocabulary of a tile of logits
ADAM = 2  # moments


@dataclass(frozen=True)
class Model:
    """Hold what memory and time depend on. `head` counts the output matrix, `kv` the cache of a token (elements)."""

    parameters: int
    trained: int
    largest_layer: int
    head: int
    hidden: int
    vocabulary: int
    layers: int
    kv: int
    weight_bytes: int
    pass_bytes: int


@dataclass(frozen=True)
class Parts:
    """Hold bytes by part. What a step needs at its worst is `peak`."""

    weights: float
    gradients: float
    optimizer: float
    activations: float = 0.0
    logits: float = 0.0
    kv_cache: float = 0.0
    reference: float = 0.0
    critic: float = 0.0
    vllm: float = 0.0
    gathered: float = 0.0  # weights of other processes that generation brings together
    accumulates: bool = True

    @property
    def held(self) -> float:
        """Return what is there all the time."""
        return self.weights + self.optimizer + self.reference + self.critic + self.vllm

    @property
    def peak(self) -> float:
        """Return the most that is there at a time: in a training pass, in the optimizer's step, or in generation.

        Gradients that no micro-batch before has left grow as activations go, so they are not there together.
        """
        passes = self.activations + self.logits + (self.gradients if self.accumulates else 0.0)
        step = self.gradients + self.optimizer / 2 / ADAM
        return self.held + max(passes, step, self.kv_cache + self.gathered)

    def gib(self) -> dict[str, float]:
        """Return every part in GiB."""
        return {field.name: getattr(self, field.name) / 2**30 for field in fields(self) if field.name != "accumulates"}


def states(
    model: Model, zero: Literal[0, 1, 2, 3], offload: Literal["none", "optimizer", "all"], world: int
) -> tuple[float, float, float]:
    """Return bytes of weights, gradients and optimizer state on one GPU."""
    trained = model.trained
    if zero == 0:
        copies = 2 if world > 1 else 1
        weights, each = model.parameters * model.weight_bytes, trained * model.weight_bytes
        return weights, copies * each, ADAM * each
    width = model.pass_bytes
    buckets = 2 * min(BUCKET, trained) * width
    weights = (
        model.parameters * width if zero < 3 else model.parameters * width / world + 2 * model.largest_layer * width
    )
    gradients = trained * width * (1 if zero == 1 else 1 / world) + buckets
    optimizer = trained * 4 * (1 + ADAM) / world
    if offload == "none":
        gradients += trained * 4 / world  # the float32 copy that the optimizer reads
    else:
        optimizer = 0.0
    if offload == "all":
        weights = 2 * model.largest_layer * width
    return weights, gradients, optimizer


def fused_head(model: Model, tokens: int, spare_tiles: int = 0) -> float:
    """Return the bytes that the log-probs of so many tokens take: a tile of logits, gradients of head and states.

    Where there is no Triton, as on a CPU, torch works on `spare_tiles` further tiles in float32.
    """
    rows = min(tokens, TILE_TOKENS)
    spare = spare_tiles * rows * min(model.vocabulary, TILE_WIDTH) * 4
    return (
        rows * TILE_WIDTH * model.pass_bytes + spare + (4 + model.weight_bytes) * model.head + 4 * tokens * model.hidden
    )


def generation(model: Model, sequences: int, tokens: int) -> float:
    """Return the bytes of transformers' KV cache for so many sequences of so many tokens, and of the next logits."""
    cache = sequences * tokens * model.layers * model.kv * model.pass_bytes
    return cache * (1 + 1 / model.layers) + 3 * 4 * sequences * model.vocabulary
