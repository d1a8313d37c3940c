"""What the nodes of a decoder write into its residual stream, in one text less in another."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.circuits.pairs import Batch
from rl.circuits.structure import Network, StructureError

CLOSE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the sum of what is written, relative; wider for half precision


@dataclass
class Recorded:
    """Hold what a pass wrote: by layer the heads' outputs over the rho of the norm behind them, and the MLP's writes.

    start and end are the residual stream in front of the first layer and behind the last, logits those at each end.
    """

    heads: list[Float[Tensor, "B T H D"]] = field(default_factory=list)
    mlps: list[Float[Tensor, "B T N"]] = field(default_factory=list)
    rest: list[Float[Tensor, "B T N"]] = field(default_factory=list)
    start: Float[Tensor, "B T N"] = field(default_factory=lambda: torch.empty(0, 0, 0))
    end: Float[Tensor, "B T N"] = field(default_factory=lambda: torch.empty(0, 0, 0))
    logits: Float[Tensor, "B V"] = field(default_factory=lambda: torch.empty(0, 0))


@dataclass(frozen=True)
class Writes:
    """Hold the clean pass' writes less the corrupt one's; those of a layer's heads are formed when they are asked for.

    Biases belong to no head: they cancel, but for what a norm behind them makes of them.
    """

    network: Network
    start: Float[Tensor, "B T N"]
    outputs: list[Float[Tensor, "B T H D"]]
    mlps: list[Float[Tensor, "B T N"]]

    def heads(self, layer: int) -> Float[Tensor, "H B T N"]:
        """Return what each head of a layer writes."""
        weight = self.network.layers[layer].writing(self.network.graph.num_heads)
        return torch.einsum("bthd,hdn->hbtn", self.outputs[layer], weight)


def difference(network: Network, clean: Recorded, corrupt: Recorded) -> Writes:
    """Return what two passes wrote, one less the other.

    Raises StructureError where all writes together are not what the residual stream gained: a part is not understood.
    """
    outputs = [one - other for one, other in zip(clean.heads, corrupt.heads, strict=True)]
    mlps = [one - other for one, other in zip(clean.mlps, corrupt.mlps, strict=True)]
    writes = Writes(network, clean.start - corrupt.start, outputs, mlps)
    total = writes.start.clone()
    for layer, mlp in enumerate(mlps):
        total += writes.heads(layer).sum(0) + clean.rest[layer] - corrupt.rest[layer] + mlp
    close = CLOSE.get(network.model.dtype, 0.1)
    error, scale = (total - (clean.end - corrupt.end)).abs().max(), clean.end.abs().max()
    if not error <= close * scale:
        name = type(network.model).__name__
        raise StructureError(
            f"{name}: its heads and MLPs do not add up to its residual stream (off by {float(error / scale):.2g} of "
            "its largest value), so it has no circuit here; its layers do something else beside"
        )
    return writes


@torch.no_grad()
def record(network: Network, ids: Int[Tensor, "B T"], last: Int[Tensor, "B"]) -> Recorded:
    """Pass a batch through the model and return what was written."""
    found = Recorded()
    with ExitStack() as hooks:
        for layer in network.layers:
            for module, hook in _hooks(layer, network.graph.num_heads, found):
                hooks.callback(module.register_forward_hook(hook).remove)
        hooks.enter_context(_kept(network.first, lambda x: setattr(found, "start", x.float())))
        hooks.enter_context(_kept(network.final.module, lambda x: setattr(found, "end", x.float())))
        found.logits = logits_of(network, ids, last)
    return found


def logits_of(network: Network, ids: Int[Tensor, "B T"], last: Int[Tensor, "B"]) -> Float[Tensor, "B V"]:
    """Return the logits behind each text's last token, in float32; no others are made."""
    kept, place = last.unique(return_inverse=True)
    logits = network.model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
    return logits[torch.arange(len(ids), device=ids.device), place].float()


def kl(clean: Float[Tensor, "B V"], logits: Float[Tensor, "B V"]) -> Float[Tensor, "B"]:
    """Return KL(p_clean || p) of the distributions of the next token, nats."""
    ours, theirs = clean.log_softmax(-1), logits.log_softmax(-1)
    return (ours.exp() * (ours - theirs)).sum(-1)


def both(network: Network, batch: Batch) -> tuple[Recorded, Recorded]:
    """Return what the clean and the corrupt texts of a batch make a model write."""
    return record(network, batch.clean, batch.last), record(network, batch.corrupt, batch.last)


def _hooks(layer: Any, num_heads: int, found: Recorded) -> Iterator[tuple[nn.Module, Callable[..., None]]]:
    def projected(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        outputs, post = args[0].float().unflatten(-1, (num_heads, -1)), layer.attention_post
        scale = 1.0 if post is None else 1 / post.rho(output.float())
        weight = 1.0 if post is None else post.weight
        bias = torch.zeros(()) if module.bias is None else module.bias.float()
        found.heads.append(outputs * (scale if post is None else scale.unsqueeze(-1)))  # pyright: ignore
        found.rest.append((bias * weight * scale).expand(output.shape) if bias.ndim else output.new_zeros(1, 1, 1))

    yield layer.attention.o_proj, projected
    writer = layer.mlp if layer.mlp_post is None else layer.mlp_post.module
    yield writer, lambda module, args, output: found.mlps.append(output.float())


@contextmanager
def _kept(module: nn.Module, keep: Callable[[Tensor], None]) -> Iterator[None]:
    """Hand what enters a module to `keep` inside."""
    handle = module.register_forward_pre_hook(lambda _, args: keep(args[0]))
    try:
        yield
    finally:
        handle.remove()
