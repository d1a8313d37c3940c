"""The critic: the value of every state, from a head on the policy's trunk or from a network of its own.

It is a submodule of the policy, so that one forward pass, one optimizer and one DeepSpeed engine hold both; whoever
wants the policy alone (an export, vLLM, a frozen copy) asks for it without its critic.
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

CRITIC = "critic"  # the submodule's name, and that of the folder beside a policy's weights
FILE = "critic.safetensors"


class ValueHead(nn.Linear):
    """Map hidden states to values in float32, whatever the trunk's type; it starts as V = 0 [ours]."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 1)

    def reset_parameters(self) -> None:
        """Start as zero."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Float[Tensor, "B T D"]) -> Float[Tensor, "B T"]:  # noqa: A002 - torch's name
        """Return one value for each hidden state."""
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight.float(), self.bias.float()).squeeze(-1)


class Critic(nn.Module):
    """Estimate values: with `backbone` by a network of its own, else from the policy's last hidden states."""

    def __init__(self, size: int, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.head = ValueHead(size)
        self.backbone = backbone

    def forward(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor, last: int) -> Tensor:
        """Return (B, last) values of the states behind the last tokens; `hidden` (B, T, D) is the policy's."""
        if self.backbone is not None:
            outputs = self.backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
            hidden = outputs.last_hidden_state
        return self.head(hidden[:, -last:])


def attach(model: nn.Module, critic: Critic) -> None:
    """Make critic a submodule of a policy, plain or with adapters, on its device."""
    network = policy_network(model)
    network.add_module(CRITIC, critic.to(next(network.parameters()).device))


def detach(model: nn.Module) -> None:
    """Leave the policy without its critic, if it has one."""
    policy_network(model)._modules.pop(CRITIC, None)


@contextmanager
def without_critic(model: nn.Module) -> Iterator[None]:
    """Let the policy be without its critic inside."""
    modules = policy_network(model)._modules
    critic = modules.pop(CRITIC, None)
    try:
        yield
    finally:
        if critic is not None:
            modules[CRITIC] = critic


def is_of_critic(name: str) -> bool:
    """Say whether a parameter or module of a policy, by its dotted name, belongs to the critic attached to it."""
    return CRITIC in name.split(".")


def policy_network(model: nn.Module) -> Any:
    """Return the transformers model that a policy is, without PEFT around it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


@contextmanager
def read_values(model: nn.Module, *, last: int, detached: bool) -> Iterator[list[Float[Tensor, "B T"]]]:
    """Collect the critic's values of every forward pass inside, on the hidden states that the pass has anyway.

    Columns are the states behind the `last` tokens of a sequence. `detached` keeps the critic's gradient out of a
    shared trunk. The values join the model's outputs, where DDP looks for what a backward pass will reach.
    """
    network = policy_network(model)
    critic = network._modules[CRITIC]
    found: list[Tensor] = []

    def after_trunk(_: nn.Module, args: tuple, kwargs: Mapping[str, Any], outputs: Any) -> None:
        hidden = outputs.last_hidden_state
        ids = kwargs.get("input_ids", args[0] if args else None)
        found.append(critic(hidden.detach() if detached else hidden, ids, kwargs["attention_mask"], last))

    def after_policy(_: nn.Module, __: tuple, outputs: Any) -> Any:
        return _with_values(type(outputs))(**outputs, state_values=found[-1])

    hooks = [
        network.base_model.register_forward_hook(after_trunk, with_kwargs=True),
        network.register_forward_hook(after_policy),
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@functools.cache
def _with_values(outputs: type) -> type:
    """Return a class of model outputs that has values too; DDP builds outputs anew from their fields."""
    return make_dataclass(f"{outputs.__name__}WithValues", [("state_values", Any, None)], bases=(outputs,))


def split(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a state dict into the policy's and the critic's, the latter by the critic's own names."""
    policy = {name: weight for name, weight in weights.items() if not is_of_critic(name)}
    critic = {name.partition(f"{CRITIC}.")[2]: weight for name, weight in weights.items() if is_of_critic(name)}
    return policy, critic


def save(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write a critic's weights beside those of its policy in folder."""
    beside = folder / CRITIC
    beside.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.detach().contiguous().clone() for name, weight in weights.items()}, beside / FILE)


def load(model: nn.Module, folder: Path) -> None:
    """Read what save wrote into the critic that is attached to model. Raises ValueError where it cannot be read."""
    path = folder / CRITIC / FILE
    try:
        policy_network(model)._modules[CRITIC].load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        remedy = f"delete {folder.name} to go on from the checkpoint before it"
        raise ValueError(f"{path} is missing or damaged ({reason}); {remedy}") from None
