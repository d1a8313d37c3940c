"""Read queries and keys off a forward pass that runs anyway, and turn them into statistics on the spot."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rl.attention.bands import Attention, fai, row_moments, waad
from rl.attention.heads import Heads
from rl.attention.rhythm import Rhythm


@runtime_checkable
class Reader(Protocol):
    """Take what a probe reads: one `start` per forward pass, then one `read` per probed layer of it."""

    def start(self, num_sequences: int) -> None: ...

    def read(self, layer: int, attention: Attention) -> None: ...


def transformer(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside PEFT, DDP or DeepSpeed wrappers."""
    found = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if found is None:
        raise ValueError(f"{type(model).__name__} holds no transformers model, so its attention cannot be read")
    return found


def attention_modules(model: nn.Module) -> dict[int, nn.Module]:
    """Map each layer index to the module that calls the attention interface."""
    modules = [module for name, module in transformer(model).named_modules() if name.endswith("attn")]
    return {int(module.layer_idx): module for module in modules if hasattr(module, "layer_idx")}  # pyright: ignore


def num_layers(model: nn.Module) -> int:
    """Return how many layers the model has, with attention or without."""
    return int(transformer(model).config.get_text_config().num_hidden_layers)


@contextmanager
def probe(model: nn.Module, layers: Collection[int], reader: Reader) -> Iterator[None]:
    """Feed reader from every forward pass of model inside the context; gradients and outputs are untouched.

    The active attention function is wrapped in place and delegated to, so that its mask and kernel stay what they are.
    Close the probe before backward(): gradient checkpointing calls attention a second time there.
    Raises ValueError where a probed layer does not exist or does not go through transformers' attention interface.
    """
    network = transformer(model)
    modules = attention_modules(model)
    missing = sorted(set(layers) - modules.keys())
    if missing:
        raise ValueError(
            f"layers {missing} of {type(network).__name__} have no attention to probe; it has layers {sorted(modules)}"
        )
    layer_of = {id(modules[layer]): layer for layer in layers}
    state: dict[str, Tensor] = {}
    heard: set[int] = set()

    def before(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        input_ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        mask = kwargs.get("attention_mask")
        state["keys"] = torch.ones_like(input_ids, dtype=torch.bool) if mask is None else mask.bool()
        reader.start(len(input_ids))

    def listen(module: nn.Module, q: Tensor, k: Tensor, kwargs: dict[str, Any]) -> None:
        layer = layer_of.get(id(module))
        if layer is not None:
            heard.add(layer)
            if kwargs.get("s_aux") is not None:
                raise ValueError(f"{type(network).__name__} has learned attention sinks, whose rows do not sum to 1")
            with torch.no_grad(), torch.autocast(q.device.type, enabled=False):  # autocast would make the scores bf16
                reader.read(layer, _attention(module, q.detach(), k.detach(), state["keys"], kwargs))

    hook = network.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with _wrapped(network, next(iter(modules.values())), listen):
            yield
    finally:
        hook.remove()
    silent = sorted(set(layers) - heard)
    if state and silent:
        raise ValueError(f"layers {silent} of {type(network).__name__} bypass the attention interface: not probeable")


def _attention(module: nn.Module, q: Tensor, k: Tensor, keys: Tensor, kwargs: dict[str, Any]) -> Attention:
    scale = kwargs.get("scaling")
    return Attention(
        q=q,
        k=k,
        keys=keys,
        scale=q.shape[-1] ** -0.5 if scale is None else scale,
        softcap=kwargs.get("softcap"),
        sliding=kwargs.get("sliding_window"),
    )


@contextmanager
def _wrapped(network: PreTrainedModel, sample: nn.Module, listen: Callable[..., None]) -> Iterator[None]:
    name = network.config._attn_implementation
    eager = getattr(sys.modules[type(sample).__module__], "eager_attention_forward", None)
    active = ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)  # pyright: ignore
    local = ALL_ATTENTION_FUNCTIONS._local_mapping
    before = local.get(name)

    def wrapper(module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        output = active(module, query, key, *args, **kwargs)
        listen(module, query, key, kwargs)
        return output

    local[name] = wrapper
    try:
        yield
    finally:
        if before is None:
            del local[name]
        else:
            local[name] = before


class RhythmReader:
    """Average WAAD over the local and FAI over the global heads, for sequences that come in one or more passes."""

    def __init__(self, heads: Heads, response: Bool[Tensor, "B T"], window: int, horizon: tuple[int, int]) -> None:
        self.heads, self.response, self.window, self.horizon = heads, response, window, horizon
        self._waad = torch.zeros(response.shape, device=response.device)
        self._fai = torch.zeros_like(self._waad)
        self._rows = slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._rows = slice(self._rows.stop, self._rows.stop + num_sequences)

    def read(self, layer: int, attention: Attention) -> None:
        """Add one layer's chosen heads."""
        local = [head for at, head in self.heads.local if at == layer]
        wide = [head for at, head in self.heads.global_ if at == layer]
        chosen = attention.of(local + wide)
        lse, _ = row_moments(chosen)
        n = len(local)
        if local:
            near = waad(attention.of(local), lse[:, :n], self.window)
            self._waad[self._rows] += near.sum(1) / len(self.heads.local)
        if wide:
            far = fai(attention.of(wide), lse[:, n:], self.response[self._rows], self.horizon)
            self._fai[self._rows] += far.sum(1) / len(self.heads.global_)

    def rhythm(self) -> Rhythm:
        """Return the averages, 0 outside the response."""
        assert self._rows.stop == len(self.response), "every sequence must have passed exactly once"
        return Rhythm(waad=self._waad * self.response, fai=self._fai * self.response)


class DistanceReader:
    """Sum the mean backward distance of every head's response rows."""

    def __init__(self, response: Bool[Tensor, "B T"]) -> None:
        self.response = response
        self.sums: dict[int, Float[Tensor, "H"]] = {}
        self._rows = slice(0, 0)

    def start(self, num_sequences: int) -> None:
        """Move on to the next num_sequences sequences."""
        self._rows = slice(self._rows.stop, self._rows.stop + num_sequences)

    def read(self, layer: int, attention: Attention) -> None:
        """Add one layer's heads."""
        _, distance = row_moments(attention)
        rows = self.response[self._rows].unsqueeze(1)
        total = (distance * rows).double().sum((0, 2))
        self.sums[layer] = self.sums.get(layer, torch.zeros_like(total)) + total
