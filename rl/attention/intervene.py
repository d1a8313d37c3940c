"""Let chosen heads write more, less or nothing, in training as in generation: what do they do (arXiv 2509.25758)?"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.attention.heads import Head
from rl.attention.structure import attention_modules, transformer


class HeadError(ValueError):
    """Say which heads a model does not have, or why nothing can be done to them."""


@contextmanager
def scaled(model: nn.Module, factors: Mapping[Head, float]) -> Iterator[None]:
    """Multiply what (layer, head)s write into the residual stream by a factor inside; 0 takes it away at all positions.

    What enters the output projection is scaled, head by head, so that queries, keys and values stay what they are; a
    bias of the projection is no head's. Raises HeadError for a head that is not there.
    """
    check_heads(model, factors)
    modules, count = attention_modules(model), _num_heads(model)
    with ExitStack() as hooks:
        for layer in sorted({layer for layer, _ in factors}):
            row = torch.tensor([float(factors.get((layer, head), 1.0)) for head in range(count)])
            hook = _output(model, modules[layer], layer).register_forward_pre_hook(_scaling(row), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


def check_heads(model: nn.Module, heads: Mapping[Head, float] | set[Head]) -> None:
    """Raise HeadError where a model lacks one of these heads, or the projection that their outputs pass through."""
    modules, count = attention_modules(model), _num_heads(model)
    name = type(transformer(model)).__name__
    for layer, head in sorted(heads):
        if layer not in modules:
            there = ", ".join(map(str, sorted(modules))) or "none"
            raise HeadError(f"head {layer}.{head}: {name} has no attention in layer {layer}; layers with it: {there}")
        if not 0 <= head < count:
            raise HeadError(f"head {layer}.{head}: the layers of {name} have heads 0 to {count - 1}")
        _output(model, modules[layer], layer)


def heads_in(model: nn.Module) -> list[Head]:
    """Return all heads that a model has."""
    return [(layer, head) for layer in sorted(attention_modules(model)) for head in range(_num_heads(model))]


def _num_heads(model: nn.Module) -> int:
    return int(transformer(model).config.get_text_config().num_attention_heads)


def _output(model: nn.Module, attention: nn.Module, layer: int) -> nn.Module:
    """Return the projection that takes the heads of a layer, side by side, to what they write."""
    found, count = getattr(attention, "o_proj", None), _num_heads(model)
    if not isinstance(found, nn.Module) or getattr(found, "in_features", 1) % count:
        name = type(transformer(model)).__name__
        raise HeadError(
            f"layer {layer} of {name} has no o_proj that its {count} heads go into one by one; "
            "take a model of the Llama, Mistral, Qwen or Gemma families"
        )
    return found


def _scaling(row: Float[Tensor, "H"]) -> Callable[..., Any]:
    """Return a hook that multiplies the columns of each head by its factor; to the bit the same where that is 1."""

    def scale(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states, *rest = args
        factors = row.to(states.device, states.dtype).unsqueeze(-1)
        return ((states.unflatten(-1, (len(row), -1)) * factors).flatten(-2), *rest), kwargs

    return scale
