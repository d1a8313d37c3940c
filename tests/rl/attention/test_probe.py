"""What the probe reads off a real forward pass is what eager attention computes, and reading changes nothing."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from reference import dense, models
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rl.attention import Heads, Rhythm, RhythmReader, mean_distances, measure, probe
from rl.attention.bands import Attention
from rl.credit import coupled

HEADS = Heads(local=((0, 0), (1, 3), (2, 1)), global_=((0, 2), (2, 3)))


def batch(length: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three sequences: left-padded, left- and right-padded, and one without any real completion token."""
    ids = torch.randint(3, 64, (3, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, length, dtype=torch.long)
    mask[0, :7] = 0
    mask[1, :15], mask[1, 50:] = 0, 0
    mask[2, 20:] = 0
    response = mask.clone()
    response[:, :25] = 0
    return ids, mask, response


def assert_same(got: Rhythm, want: Rhythm, waad: float = 2e-5, fai: float = 1e-7) -> None:
    torch.testing.assert_close(got.waad, want.waad, atol=waad, rtol=0)
    torch.testing.assert_close(got.fai, want.fai, atol=fai, rtol=1e-5)


def eager_maps(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return [a.double() for a in model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions]


@pytest.mark.parametrize("family", models.CONFIGS)
def test_measure_equals_eager_maps(family: str) -> None:
    model = models.build(family)
    ids, mask, response = batch()
    rhythm = measure(model, ids, mask, response, heads=HEADS, window=10, horizon=(5, 20))
    distances = mean_distances(model, ids, mask, response)
    maps = eager_maps(model, ids, mask)
    rows = response.bool()
    near = torch.stack([dense.waad(maps[layer][:, head], 10) for layer, head in HEADS.local]).mean(0)
    far = torch.stack([dense.fai(maps[l][:, h : h + 1], rows, (5, 20))[:, 0] for l, h in HEADS.global_]).mean(0)  # noqa: E741
    torch.testing.assert_close(rhythm.waad.double(), near * rows, atol=2e-4, rtol=0)
    torch.testing.assert_close(rhythm.fai.double(), far * rows, atol=1e-8, rtol=2e-5)
    for layer, a in enumerate(maps):
        expected = (dense.mean_distance(a) * rows[:, None]).sum((0, 2)) / rows.sum()
        torch.testing.assert_close(distances[layer].double(), expected, atol=1e-4, rtol=1e-5)


def test_the_references_are_not_degenerate() -> None:
    """Attention that were uniform, or the same in every head, would let a wrong head or band pass."""
    ids, mask, response = batch()
    rows = mean_distances(models.build("qwen3"), ids, mask, response)
    values = torch.cat(list(rows.values()))
    assert values.max() - values.min() > 2.0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_reading_changes_nothing_and_leaves_nothing(attention: str) -> None:
    model = models.build("qwen3", attention)
    ids, mask, response = batch()
    table = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)
    plain = model(input_ids=ids, attention_mask=mask).logits
    with probe(model, [0, 2], RhythmReader(Heads(((0, 0),), ((2, 1),)), response.bool(), 10, (5, 20))):
        read = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(plain, read)
    assert ALL_ATTENTION_FUNCTIONS._local_mapping == table
    assert not model._forward_pre_hooks


def test_the_table_is_restored_after_an_error() -> None:
    model = models.build("qwen3")
    table = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)
    _, _, response = batch()
    with pytest.raises(RuntimeError), probe(model, [0], RhythmReader(HEADS, response.bool(), 10, (5, 20))):
        raise RuntimeError
    assert ALL_ATTENTION_FUNCTIONS._local_mapping == table


def test_padding_changes_nothing() -> None:
    """The mask is not dropped: tokens under padding may be anything, and more padding may stand on both sides."""
    model = models.build("qwen3")
    ids, mask, response = batch()
    want = measure(model, ids, mask, response, heads=HEADS)
    noise = torch.where(mask.bool(), ids, (ids + 17) % 64)
    assert_same(measure(model, noise, mask, response, heads=HEADS), want)
    wider = [nn.functional.pad(x, (9, 5)) for x in (ids, mask, response)]
    got = measure(model, *wider, heads=HEADS)
    assert_same(Rhythm(got.waad[:, 9:-5], got.fai[:, 9:-5]), want)


def test_batch_equals_its_parts() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    whole = RhythmReader(HEADS, response.bool(), 10, (5, 20))
    with torch.no_grad(), probe(model, HEADS.layers, whole):
        model(input_ids=ids, attention_mask=mask)
    parts = RhythmReader(HEADS, response.bool(), 10, (5, 20))
    with torch.no_grad(), probe(model, HEADS.layers, parts):
        model(input_ids=ids[:2], attention_mask=mask[:2])
        model(input_ids=ids[2:], attention_mask=mask[2:])
    assert_same(whole.rhythm(), parts.rhythm())


def test_lora_is_read_with_its_adapters() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    plain = measure(model, ids, mask, response, heads=HEADS)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "k_proj"], init_lora_weights=False))
    read = measure(adapted, ids, mask, response, heads=HEADS)
    merged = measure(adapted.merge_and_unload(), ids, mask, response, heads=HEADS)
    assert_same(read, merged, waad=1e-4, fai=1e-6)
    assert (read.waad - plain.waad).abs().max() > 0.01


def test_gradient_checkpointing_is_read_once() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    want = measure(model, ids, mask, response, heads=HEADS)
    model.train()
    model.gradient_checkpointing_enable()
    reader = RhythmReader(HEADS, response.bool(), 10, (10, 100))
    with probe(model, HEADS.layers, reader):
        loss = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.sum()
    loss.backward()
    assert_same(reader.rhythm(), want)


def test_a_layer_out_of_range_is_named() -> None:
    ids, mask, response = batch()
    with pytest.raises(ValueError, match=r"layers \[7\] of Qwen3ForCausalLM have no attention to probe"):
        mean_distances(models.build("qwen3"), ids, mask, response, layers=[0, 7])


def test_a_layer_that_bypasses_the_interface_is_named() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    model.model.layers[1].self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(ValueError, match=r"layers \[1\] of Qwen3ForCausalLM bypass"):
        mean_distances(model, ids, mask, response)


class Exactly(RhythmReader):
    """Keep the queries and keys that were read, so that the definitions can be computed from the very same."""

    def read(self, layer: int, attention: Attention) -> None:
        self.seen = {**getattr(self, "seen", {}), layer: attention}
        super().read(layer, attention)


@pytest.mark.parametrize("how", ["bfloat16", "float16", "autocast"])
def test_low_precision_models_are_read_in_float32(how: str) -> None:
    """Sums stay in float32 whatever the model runs in: no token may be selected differently from the dense form."""
    model = models.build("qwen3")
    if how != "autocast":
        model = model.to(getattr(torch, how))
    ids, mask, response = batch()
    rows = response.bool()
    reader = Exactly(HEADS, rows, 10, (5, 20))
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"),
        probe(model, [0, 1, 2], reader),
    ):
        model(input_ids=ids, attention_mask=mask)
    assert reader.seen[0].q.dtype is not torch.float32 or how == "autocast"
    maps = {layer: dense.attention_map(attention) for layer, attention in reader.seen.items()}
    near = torch.stack([dense.waad(maps[layer][:, head], 10) for layer, head in HEADS.local]).mean(0) * rows
    far = torch.stack([dense.fai(maps[l][:, h : h + 1], rows, (5, 20))[:, 0] for l, h in HEADS.global_]).mean(0) * rows  # noqa: E741
    rhythm = reader.rhythm()
    torch.testing.assert_close(rhythm.waad.double(), near, atol=2e-4, rtol=0)
    torch.testing.assert_close(rhythm.fai.double(), far, atol=1e-9, rtol=1e-5)
    exact = coupled(Rhythm(near.float(), far.float()), rows)
    assert torch.equal(coupled(rhythm, rows).weights, exact.weights)


class Largest(TorchDispatchMode):
    """Remember the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return out


def test_no_tensor_grows_with_the_square_of_the_length() -> None:
    """Neither reading nor selecting makes a T x T map, or the logits of every token."""
    model = models.build("qwen3")
    for length in (512, 1024):
        ids = torch.randint(3, 64, (1, length), generator=torch.Generator().manual_seed(1))
        ones = torch.ones_like(ids)
        with Largest() as largest:
            measure(model, ids, ones, ones)
        assert largest.elements < 4 * 128 * 300 < length * length or length == 512


def test_learned_sinks_are_refused() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    attention = model.model.layers[1].self_attn
    forward = type(attention).forward
    attention.forward = lambda *args, **kwargs: forward(attention, *args, s_aux=torch.zeros(4), **kwargs)
    with pytest.raises(ValueError, match="learned attention sinks"):
        mean_distances(model, ids, mask, response)
