"""What a model is made of, and what a training pass of it keeps for its backward pass: traced on fake tensors.

No weights are read and no memory is taken: a forward pass runs on tensors that have a shape and no content, and hooks
count every tensor that autograd saves, once for each storage.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from rl import models
from rl.models import ModelError
from rl.recipe.sections import Recipe
from rl.sizing.memory import Model

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class Traced:
    """A recipe's policy without content: its numbers, and the activations of a pass."""

    def __init__(self, recipe: Recipe) -> None:
        section = recipe.model
        models.check_source(section.name, weights=False)
        models.read_shape(section.name, section.revision)
        self.precision, self.dtype = recipe.cluster.precision, section.dtype
        with torch.device("meta"):
            attention = "sdpa" if section.attention == "flash_attention_2" else section.attention  # it keeps as much
            network: Any = models.build_skeleton(section.name, section.revision, attention, section.dtype)
            policy: Any = network
            if section.lora is not None:
                policy = models.add_lora(network, **section.lora.model_dump())
            if section.gradient_checkpointing:
                network.gradient_checkpointing_enable({"use_reentrant": False})
                network.enable_input_require_grads()
        self._mode = FakeTensorMode()
        _make_fake(policy, self._mode)
        self._network, self._policy = network, policy.train()

    def numbers(self) -> Model:
        """Return what memory and time depend on."""
        config: Any = self._network.config.get_text_config()
        head: Any = self._network.get_output_embeddings()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return Model(
            parameters=sum(parameter.numel() for parameter in self._policy.parameters()),
            trained=sum(parameter.numel() for parameter in self._policy.parameters() if parameter.requires_grad),
            largest_layer=max(_own(module) for module in self._layers()),
            head=head.weight.numel() if head.weight.requires_grad else 0,
            hidden=config.hidden_size,
            vocabulary=config.vocab_size,
            layers=config.num_hidden_layers,
            kv=2 * heads * width,
            weight_bytes=BYTES[self.dtype],
            pass_bytes=BYTES[self.precision if self.precision != "float32" else self.dtype],
        )

    def _layers(self) -> list[nn.Module]:
        lists = [module for module in self._network.modules() if isinstance(module, nn.ModuleList) and len(module)]
        longest = max(lists, key=len)
        embeddings: Any = self._network.get_input_embeddings()
        return [*longest, embeddings]

    def activations(self, sequences: int, tokens: int) -> float:
        """Return the bytes that a training pass over (sequences, tokens) keeps, and an attention mask of theirs.

        Under gradient checkpointing that is what enters each layer, and all of one layer, which is computed again.
        Raises ModelError where the model cannot be traced.
        """
        checkpoints = bool(getattr(self._network, "is_gradient_checkpointing", False))
        try:
            kept = self._saved(sequences, tokens)
            if checkpoints:
                self._network.gradient_checkpointing_disable()
                try:
                    kept += self._saved(sequences, tokens) / len(self._layers())
                finally:
                    self._network.gradient_checkpointing_enable({"use_reentrant": False})
        except (RuntimeError, ImportError, LookupError, AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"model.name: its forward pass cannot be traced: {str(error).splitlines()[0]}") from None
        return kept + sequences * tokens**2 * (1 + BYTES[self.precision])

    def _saved(self, sequences: int, tokens: int) -> float:
        own = {parameter.untyped_storage()._cdata for parameter in self._policy.parameters()}
        kept: dict[int, tuple[int, torch.Tensor]] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage.nbytes(), tensor  # held, so that no other storage takes its place
            return tensor

        cast = nullcontext()
        if self.precision != "float32":
            cast = torch.autocast("cpu", getattr(torch, self.precision))
        with self._mode, cast, saved_tensors_hooks(pack, lambda tensor: tensor):
            ids = torch.zeros(sequences, tokens, dtype=torch.long)
            outputs = self._network.base_model(input_ids=ids, use_cache=False)
        total = sum(size for size, _ in kept.values())
        del outputs
        return float(total)


def _make_fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Put fake tensors in the place of a module's parameters and buffers; what is shared stays so."""
    made: dict[int, torch.Tensor] = {}

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            with mode:
                empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                wanted = tensor.requires_grad
                made[id(tensor)] = nn.Parameter(empty, wanted) if isinstance(tensor, nn.Parameter) else empty
        return made[id(tensor)]

    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = fake(tensor)  # pyright: ignore


def _own(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
