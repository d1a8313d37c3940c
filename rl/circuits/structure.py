"""What edges are attributed through: the norms and projections of a decoder's layers, whatever its family."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.attention.structure import transformer
from rl.circuits.graph import Graph

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
MATRICES = ("gate_proj", "up_proj", "down_proj")
KNOWN = "Qwen2, Qwen3, Llama, Mistral and Gemma 2 are"


class StructureError(ValueError):
    """Say why a model cannot be taken apart into heads and MLPs."""


@dataclass(frozen=True)
class Norm:
    """An RMSNorm y = w x / rho, rho = sqrt(mean(x^2) + eps), with the weight w that it has in effect (Gemma: 1 + w)."""

    module: nn.Module
    weight: Float[Tensor, "N"]
    eps: float

    def rho(self, x: Float[Tensor, "*B N"]) -> Float[Tensor, "*B 1"]:
        """Return what each row is divided by."""
        return (x.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def pull(self, gradient: Float[Tensor, "..."], x: Float[Tensor, "*B N"]) -> Float[Tensor, "..."]:
        """Return J^T g = w g / rho - x (x . w g) / (N rho^3): a gradient at the output as one at the input x."""
        rho, inner = self.rho(x), self.weight * gradient
        along = (inner * x).sum(-1, keepdim=True) / (x.shape[-1] * rho**3)
        return inner / rho - x * along


@dataclass(frozen=True)
class Layer:
    """A decoder layer: what reads the residual stream behind which norm, and the norms behind which it is written."""

    attention: nn.Module
    mlp: nn.Module
    attention_norm: Norm
    mlp_norm: Norm
    attention_post: Norm | None
    mlp_post: Norm | None

    def reading(self, name: str, num_heads: int) -> Float[Tensor, "H D N"]:
        """Return the weights of a projection by head."""
        weight: Tensor = getattr(self.attention, name).weight.detach().float()
        return weight.unflatten(0, (num_heads, -1))

    def writing(self, num_heads: int) -> Float[Tensor, "H D N"]:
        """Return what takes each head's outputs to what it writes, but for the rho of a norm behind the projection."""
        weight: Tensor = self.attention.o_proj.weight.detach().float().mT  # pyright: ignore
        post = 1.0 if self.attention_post is None else self.attention_post.weight
        return (weight * post).unflatten(0, (num_heads, -1))


@dataclass(frozen=True)
class Network:
    """A decoder as a graph, with the modules that its nodes are."""

    model: Any
    graph: Graph
    layers: list[Layer]
    first: nn.Module
    final: Norm


def take_apart(model: nn.Module) -> Network:
    """Return a model's parts. Raises StructureError where it has others than these, naming its class."""
    network = transformer(model)
    name, trunk = type(network).__name__, network.base_model
    blocks = getattr(trunk, "layers", None)
    if not isinstance(blocks, nn.ModuleList) or not hasattr(trunk, "norm"):
        raise StructureError(f"{name} has no list of layers with a norm behind it, so it has no circuit here; {KNOWN}")
    layers = [_layer(name, place, block) for place, block in enumerate(blocks)]
    config: Any = network.config.get_text_config()
    graph = Graph(len(layers), int(config.num_attention_heads), int(config.num_key_value_heads))
    return Network(network, graph, layers, blocks[0], _norm(name, "the last norm", trunk.norm))


def _layer(name: str, place: int, block: Any) -> Layer:
    attention, mlp = getattr(block, "self_attn", None), getattr(block, "mlp", None)
    for what, owner, parts in (("self_attn", attention, PROJECTIONS), ("mlp", mlp, MATRICES)):
        missing = [part for part in parts if not isinstance(getattr(owner, part, None), nn.Linear)]
        if missing:
            raise StructureError(
                f"{name}: layer {place} has no plain {what}.{missing[0]} (fused, of experts, an adapter or another "
                f"architecture), so it has no circuit here; {KNOWN}"
            )
    assert isinstance(attention, nn.Module) and isinstance(mlp, nn.Module)
    both = hasattr(block, "pre_feedforward_layernorm")  # norms before and behind, as Gemma has them
    names = ("input_layernorm", "pre_feedforward_layernorm" if both else "post_attention_layernorm")
    behind = ("post_attention_layernorm", "post_feedforward_layernorm") if both else ()
    norms = [_norm(name, f"layer {place}: {one}", getattr(block, one, None)) for one in (*names, *behind)]
    return Layer(attention, mlp, norms[0], norms[1], *(norms[2:] or (None, None)))


def _norm(name: str, what: str, module: Any) -> Norm:
    """Return an RMSNorm with its weight in effect, read off what it does. Raises StructureError for any other."""
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Module) and isinstance(eps, float) and isinstance(weight, Tensor):
        with torch.no_grad():
            ones = torch.ones(1, *weight.shape, dtype=torch.float32, device=weight.device)
            norm = Norm(module, module(ones)[0].float() * (1 + eps) ** 0.5, eps)
            rising = torch.linspace(-1, 2, weight.numel(), device=weight.device).unsqueeze(0)
            found, wanted = module(rising).float(), norm.weight * rising / norm.rho(rising)
        if torch.allclose(found, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max())):  # of bfloat16 too
            return norm
    raise StructureError(f"{name}: {what} is no RMSNorm, so it has no circuit here; {KNOWN}")
