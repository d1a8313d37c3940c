"""Read queries, keys and log-sum-exps off a forward pass that runs anyway."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rl.attention.interface import wrapped
from rl.attention.kernel import LseTap
from rl.attention.layer import Attention
from rl.attention.structure import ProbeError, attention_modules, transformer


@runtime_checkable
class Reader(Protocol):
    """Take what a probe reads: one `start` per forward pass, then one `read` per probed layer of it."""

    def start(self, num_sequences: int) -> None: ...

    def read(self, layer: int, attention: Attention) -> None: ...


@contextmanager
def probe(model: nn.Module, layers: Collection[int], reader: Reader) -> Iterator[None]:
    """Feed reader from every forward pass of model inside the context; gradients and outputs are untouched.

    The active attention function is wrapped in place and delegated to, so that its mask and kernel stay what they are.
    Close the probe before backward(): gradient checkpointing calls attention a second time there.
    Raises ProbeError where a probed layer does not exist or does not go through transformers' attention interface.
    """
    network = transformer(model)
    modules = attention_modules(model)
    missing = sorted(set(layers) - modules.keys())
    if missing:
        raise ProbeError(
            f"layers {missing} of {type(network).__name__} have no attention to probe; it has layers {sorted(modules)}"
        )
    layer_of = {id(modules[layer]): layer for layer in layers}
    state: dict[str, Tensor] = {}
    heard: set[int] = set()
    through: set[int] = set()

    def before(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        input_ids = kwargs.get("input_ids", args[0] if args else None)
        if input_ids is None:
            raise ProbeError(f"{type(network).__name__} is probed on input_ids, which this pass was not given")
        mask = kwargs.get("attention_mask")
        state["keys"] = torch.ones_like(input_ids, dtype=torch.bool) if mask is None else mask.bool()
        reader.start(len(input_ids))

    def attend(active: Callable, module: nn.Module, q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> Any:
        layer = layer_of.get(id(module))
        through.add(int(module.layer_idx))  # pyright: ignore
        if layer is None:
            return active(module, q, k, *args, **kwargs)
        tap = LseTap()
        with tap if network.config._attn_implementation == "sdpa" else nullcontext():
            output = active(module, q, k, *args, **kwargs)
        heard.add(layer)
        with torch.no_grad(), _full_precision(q.device.type):
            dtype = tap.dtype or q.dtype
            pair = q.detach().to(dtype), k.detach().to(dtype)
            reader.read(layer, _attention(network, *pair, state["keys"], tap.lse, kwargs))
        return output

    hook = network.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with wrapped(network, next(iter(modules.values())), attend):
            yield
    finally:
        hook.remove()
    silent = sorted(set(layers) - heard)
    if state and silent:
        raise ProbeError(
            f"layers {silent} of {type(network).__name__} bypass the attention interface; "
            f"of those that ran, layers {sorted(through)} go through it"
        )


def _attention(
    network: PreTrainedModel,
    q: Tensor,
    k: Tensor,
    keys: Tensor,
    lse: Tensor | None,
    kwargs: dict[str, Any],
) -> Attention:
    name = type(network).__name__
    if k.shape[2] != q.shape[2] or keys.shape[1] != q.shape[2]:
        raise ProbeError(f"{name} attends with a cache of earlier tokens: pass use_cache=False to probe it")
    scale, sink = kwargs.get("scaling"), kwargs.get("s_aux")
    capped = network.config._attn_implementation != "sdpa"  # transformers' sdpa leaves a softcap out
    return Attention(
        q=q,
        k=k,
        keys=keys,
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
        softcap=kwargs.get("softcap") if capped else None,
        sliding=kwargs.get("sliding_window"),
        sink_logits=None if sink is None else sink.detach().float(),
        lse=lse,
    )


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """Compute in float32 inside: autocast would make the scores bfloat16, TensorFloat-32 would round their factors."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    try:
        with torch.autocast(device, enabled=False):
            yield
    finally:
        matmul.fp32_precision = before
