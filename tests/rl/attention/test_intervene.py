"""Scaled heads: nothing is written where the factor is 0, nothing else changes, and all is as before afterwards."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from reference import models
from torch import Tensor, nn

from rl.attention import HeadError, scaled

FAMILIES = ["qwen2", "qwen3", "llama", "mistral", "gemma2"]
HEAD = (1, 2)


def ids() -> Tensor:
    return torch.randint(3, 60, (2, 20), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def states(model: nn.Module) -> tuple[Tensor, ...]:
    """The residual stream before every layer, and the logits."""
    out = model(input_ids=ids(), output_hidden_states=True, use_cache=False)
    return (*out.hidden_states[:-1], out.logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_zeroed_head_writes_nothing_and_nothing_before_it_changes(family: str) -> None:
    model = models.build(family)
    before = states(model)
    with scaled(model, {HEAD: 0.0}):
        found = states(model)
    after = states(model)
    assert all(one.equal(other) for one, other in zip(before, after, strict=True))
    assert all(one.equal(other) for one, other in zip(before[:2], found[:2], strict=True))  # into layers 0 and 1
    assert not any(one.allclose(other) for one, other in zip(before[2:], found[2:], strict=True))
    columns = model.get_submodule("model.layers.1.self_attn.o_proj").weight
    columns.data[:, 2 * 8 : 3 * 8] = 0
    for one, other in zip(states(model), found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * float(one.abs().max()))


def test_factors_are_those_of_the_columns() -> None:
    model = models.build("qwen3")
    with scaled(model, {(0, 1): 1.3, (2, 3): 0.5, (2, 0): 1.0}):
        found = states(model)
    for layer, head, factor in ((0, 1, 1.3), (2, 3, 0.5)):
        columns = model.get_submodule(f"model.layers.{layer}.self_attn.o_proj").weight
        columns.data[:, 8 * head : 8 * head + 8] *= factor
    for one, other in zip(states(model), found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_a_factor_of_one_changes_no_bit() -> None:
    model = models.build("llama")
    before = states(model)
    with scaled(model, {(layer, head): 1.0 for layer in range(3) for head in range(4)}):
        found = states(model)
    assert all(one.equal(other) for one, other in zip(before, found, strict=True))


def test_all_is_as_before_after_an_error() -> None:
    model = models.build("qwen2")
    before = states(model)
    with pytest.raises(KeyboardInterrupt), scaled(model, {HEAD: 0.0, (0, 0): 2.0}):
        raise KeyboardInterrupt
    assert all(one.equal(other) for one, other in zip(before, states(model), strict=True))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_generation_goes_without_the_head_too() -> None:
    """With a cache, token by token, a model writes what one without the head's columns writes."""
    model = models.build("qwen3")
    options = {"max_new_tokens": 12, "do_sample": False, "use_cache": True, "attention_mask": torch.ones_like(ids())}
    plain = model.generate(ids(), **options)
    heads = {(layer, head): 0.0 for layer in (0, 1) for head in (0, 3)}
    with scaled(model, heads):
        found = model.generate(ids(), **options)
    assert not found.equal(plain)
    for layer, head in heads:
        model.get_submodule(f"model.layers.{layer}.self_attn.o_proj").weight.data[:, 8 * head : 8 * head + 8] = 0
    assert model.generate(ids(), **options).equal(found)


def test_adapters_of_the_projection_write_nothing_for_the_head_either() -> None:
    wrapped = get_peft_model(models.build("qwen3"), LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(generator=torch.Generator().manual_seed(1))
    with scaled(wrapped, {HEAD: 0.0}):
        found = states(wrapped)
    merged = wrapped.merge_and_unload()
    merged.get_submodule("model.layers.1.self_attn.o_proj").weight.data[:, 2 * 8 : 3 * 8] = 0
    for one, other in zip(states(merged), found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize(
    ("family", "head", "fault"),
    [
        ("qwen3", (3, 0), "head 3.0: Qwen3ForCausalLM has no attention in layer 3; layers with it: 0, 1, 2"),
        ("qwen3", (0, 4), "head 0.4: the layers of Qwen3ForCausalLM have heads 0 to 3"),
        ("qwen3", (0, -1), "head 0.-1: the layers of"),
        ("qwen3_next", (0, 0), "layer 0 of Qwen3NextForCausalLM has no o_proj"),
        ("gpt_neox", (0, 0), "layer 0 of GPTNeoXForCausalLM has no o_proj"),
    ],
)
def test_heads_that_are_not_there_are_named(family: str, head: tuple[int, int], fault: str) -> None:
    with pytest.raises(HeadError, match=fault), scaled(models.build(family), {head: 0.0}):
        pass
