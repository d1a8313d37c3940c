"""The attention function of transformers, taken over in place: what reads attention, and what changes it."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rl.attention.structure import ProbeError, attention_modules, transformer

KERNELS = ("sdpa", "eager")


@contextmanager
def wrapped(network: PreTrainedModel, sample: nn.Module, attend: Callable[..., Any]) -> Iterator[None]:
    """Let `attend` take every call of the attention function that is active inside, which is its first argument.

    `sample` is any of the network's attention modules.
    """
    name = network.config._attn_implementation
    eager = getattr(sys.modules[type(sample).__module__], "eager_attention_forward", None)
    active = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)  # pyright: ignore
    local = ALL_ATTENTION_FUNCTIONS._local_mapping
    before = local.get(name)

    def wrapper(module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        return attend(active, module, query, key, *args, **kwargs)

    local[name] = wrapper
    try:
        yield
    finally:
        if before is None:
            del local[name]
        else:
            local[name] = before


@contextmanager
def changed(model: nn.Module, layers: Collection[int] | None, attend: Callable[..., Any]) -> Iterator[None]:
    """Let `attend` take the attention of `layers` inside, of all where None; others are as ever.

    Raises ProbeError for kernels whose masks do not say what is seen, where a layer does not exist or, once a pass is
    through, where it bypasses the attention interface.
    """
    network, modules = transformer(model), attention_modules(model)
    name, kernel = type(network).__name__, network.config._attn_implementation
    if kernel not in KERNELS:
        raise ProbeError(f"what {name} attends to can be changed under {' and '.join(KERNELS)} alone, not {kernel}")
    chosen = modules.keys() if layers is None else set(layers)
    missing = sorted(chosen - modules.keys())
    if missing or not modules:
        raise ProbeError(f"layers {missing} of {name} have no attention to change; it has layers {sorted(modules)}")
    layer_of = {id(modules[layer]): layer for layer in chosen}
    heard: set[int] = set()
    through: set[int] = set()

    def take(active: Callable, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        through.add(int(module.layer_idx))  # pyright: ignore
        if id(module) not in layer_of:
            return active(module, *args, **kwargs)
        heard.add(layer_of[id(module)])
        return attend(active, module, *args, **kwargs)

    ran: list[bool] = []
    hook = network.register_forward_hook(lambda *_: ran.append(True))
    try:
        with wrapped(network, next(iter(modules.values())), take):
            yield
    finally:
        hook.remove()
    silent = sorted(chosen - heard)
    if ran and silent:
        raise ProbeError(
            f"layers {silent} of {name} bypass the attention interface, so what they attend to cannot be changed; "
            f"of those that ran, layers {sorted(through)} go through it"
        )


def visible(q: Tensor, k: Tensor, mask: Tensor | None) -> Bool[Tensor, "B 1 R T"]:
    """Return which of T keys each of R rows may see, as the mask of an attention function says.

    Masks are true where a key is seen, or what is added to its score; there is none where all earlier keys are seen,
    since no window is shorter.
    """
    if mask is None:
        rows = torch.arange(k.shape[2] - q.shape[2], k.shape[2], device=q.device)[:, None]
        keys = torch.arange(k.shape[2], device=q.device)
        return (keys <= rows).expand(len(q), 1, -1, -1)
    mask = mask[..., : k.shape[2]].expand(len(q), 1, -1, -1)
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
