"""Where a model keeps what is probed: its transformer, attention modules and decoder layers."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from rl.critic import is_of_critic


class ProbeError(ValueError):
    """Say which layers of a model cannot be probed, and why."""


def transformer(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside PEFT, DDP or DeepSpeed wrappers."""
    found = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if found is None:
        raise ProbeError(f"{type(model).__name__} holds no transformers model, so its attention cannot be read")
    return found


def attention_modules(model: nn.Module) -> dict[int, nn.Module]:
    """Map each layer index to the module that calls the attention interface."""
    named = [(name, module) for name, module in transformer(model).named_modules() if not is_of_critic(name)]
    modules = [module for name, module in named if name.rpartition(".")[2].endswith(("attn", "attention"))]
    return {int(module.layer_idx): module for module in modules if hasattr(module, "layer_idx")}  # pyright: ignore


def num_layers(model: nn.Module) -> int:
    """Return how many layers the model has, with attention or without."""
    return int(transformer(model).config.get_text_config().num_hidden_layers)


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """Return the model's decoder layers."""
    parent, name = _stack(model)
    return list(getattr(parent, name))


@contextmanager
def shortened(model: nn.Module, count: int) -> Iterator[None]:
    """Let the model have only its first `count` layers inside."""
    parent, name = _stack(model)
    layers = getattr(parent, name)
    setattr(parent, name, layers[:count])
    try:
        yield
    finally:
        setattr(parent, name, layers)


def _stack(model: nn.Module) -> tuple[nn.Module, str]:
    """Return the module that holds the decoder layers, and the name it holds them under."""
    network = transformer(model)
    layer = next(iter(attention_modules(model).values()), None)
    name = next((name for name, module in network.named_modules() if module is layer), "")
    path = name.split(".")
    place = next((i for i, part in enumerate(path) if part.isdigit()), None)
    if place is None:
        raise ProbeError(f"{type(network).__name__} has no list of layers whose attention could be probed")
    return network.get_submodule(".".join(path[: place - 1])), path[place - 1]
