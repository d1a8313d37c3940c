"""What the probe reads off a real forward pass is what eager attention computes, and reading changes nothing."""

from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from reference import dense, models
from reference.dense import Exactly
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rl.attention import Heads, Rhythm, RhythmReader, head_scores, measure, probe
from rl.credit import Signals, coupled

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
    scores = head_scores(model, ids, mask, response, layers=[0, 1, 2])
    maps = eager_maps(model, ids, mask)
    rows = response.bool()
    near = torch.stack([dense.waad(maps[layer][:, head], 10) for layer, head in HEADS.local]).mean(0)
    far = torch.stack([dense.fai(maps[l][:, h : h + 1], rows, (5, 20))[:, 0] for l, h in HEADS.global_]).mean(0)  # noqa: E741
    torch.testing.assert_close(rhythm.waad.double(), near * rows, atol=2e-4, rtol=0)
    torch.testing.assert_close(rhythm.fai.double(), far * rows, atol=1e-8, rtol=2e-5)
    for layer, a in enumerate(maps):
        expected = (dense.mean_distance(a) * rows[:, None]).sum((0, 2)) / rows.sum()
        torch.testing.assert_close(scores[layer].distance.double(), expected, atol=1e-4, rtol=1e-5)


def test_the_references_are_not_degenerate() -> None:
    """Attention that were uniform, or the same in every head, would let a wrong head or band pass."""
    ids, mask, response = batch()
    scores = head_scores(models.build("qwen3"), ids, mask, response, layers=[0, 1, 2])
    values = torch.cat([row.distance for row in scores.values()])
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
        head_scores(models.build("qwen3"), ids, mask, response, layers=[0, 7])


def test_a_layer_that_bypasses_the_interface_is_named() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    model.model.layers[1].self_attn.forward = lambda hidden_states, **_: (hidden_states, None)
    with pytest.raises(ValueError, match=r"layers \[1\] of Qwen3ForCausalLM bypass"):
        head_scores(model, ids, mask, response, layers=[1, 2])


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
    check_exact(reader)


def check_exact(reader: Exactly) -> None:
    """What was read is what the definitions say of the very same queries and keys, in float64."""
    rows, rhythm = reader.response, reader.rhythm()
    exact = reader.exactly()
    torch.testing.assert_close(rhythm.waad.double(), exact.waad, atol=2e-4, rtol=0)
    torch.testing.assert_close(rhythm.fai.double(), exact.fai, atol=1e-9, rtol=1e-5)
    selected = coupled(Signals(rows, rhythm)), coupled(Signals(rows, Rhythm(exact.waad.float(), exact.fai.float())))
    assert torch.equal(selected[0].weights, selected[1].weights)


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Padding on either side or both, sequences without any token, responses of one token and shorter than H_lo."""
    size, length = draw(st.integers(1, 3)), draw(st.integers(2, 150))
    ids = torch.randint(3, 64, (size, length), generator=torch.Generator().manual_seed(draw(st.integers(0, 2**31))))
    mask, response = torch.zeros_like(ids), torch.zeros_like(ids)
    for row in range(size):
        start = draw(st.integers(0, length - 1))
        stop = draw(st.integers(start, length))
        mask[row, start:stop] = 1
        response[row, max(start, stop - draw(st.sampled_from([0, 1, 4, 30, 120]))) : stop] = 1
    return ids, mask, response


@settings(max_examples=60, deadline=None, derandomize=True)
@given(batches(), st.sampled_from(sorted(models.CONFIGS)), st.sampled_from([1, 2, 4]), st.integers(1, 12))
def test_every_shape_is_read_exactly(batch: tuple, family: str, key_heads: int, low: int) -> None:
    """MQA, GQA and a key head for each head, in every family."""
    ids, mask, response = batch
    model = models.build(family, num_key_value_heads=key_heads)
    reader = Exactly(HEADS, response.bool(), 10, (low, low + 30))
    with torch.no_grad(), probe(model, HEADS.layers, reader):
        model(input_ids=ids, attention_mask=mask)
    check_exact(reader)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"horizon": (20, 10)}, r"horizon: \(20, 10\) is empty; write \(nearest, farthest\)"),
        ({"horizon": (0, 10)}, r"horizon: \(0, 10\) is empty"),
        ({"window": 0}, "window: 0 holds no token"),
        ({"heads": Heads(((0, 4),), ((0, 0),))}, r"heads: \(0, 4\) is no \(layer, head\) of a model with heads 0..3"),
        ({"heads": Heads(((0, 0),), ())}, "heads: WAAD needs local heads"),
        ({"heads": HEADS, "layers": [0]}, r"heads: they lie in layers \[0, 1, 2\], not only in the layers \[0\]"),
        ({"layers": [3]}, r"layers \[3\] of Qwen3ForCausalLM have no attention to probe; it has layers \[0, 1, 2\]"),
        ({"layers": []}, "layers: none are given"),
    ],
)
def test_what_cannot_be_measured_is_said(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        measure(models.build("qwen3"), *batch(), **options)


@pytest.mark.parametrize(
    "odd", [None, [[1, 2]], torch.ones(5), torch.ones(0, 5)], ids=["none", "list", "flat", "empty"]
)
def test_what_is_no_batch_is_said(odd: Any) -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        for place in range(3):
            arguments = [odd if index == place else value for index, value in enumerate(batch())]
            with pytest.raises(ValueError, match=r"should be a tensor \(B, T\) that is not empty"):
                measure(models.build("qwen3"), *arguments)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_window_wider_than_the_batch_costs_no_more() -> None:
    ids, mask, response = batch()
    wide, whole = (measure(models.build("qwen3"), ids, mask, response, heads=HEADS, window=w) for w in (10**7, 60))
    assert torch.equal(wide.waad, whole.waad)


def test_masks_that_do_not_fit_are_said() -> None:
    ids, mask, response = batch()
    model = models.build("qwen3")
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without its checks
    try:
        with pytest.raises(ValueError, match=r"response_mask has shape \(3, 59\), input_ids \(3, 60\)"):
            measure(model, ids, mask, response[:, 1:])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    response[2, 30] = 1
    with pytest.raises(ValueError, match="response_mask: token 30 of sequence 2 is padding"):
        measure(model, ids, mask, response)


@pytest.mark.parametrize("family", ["gpt_neox", "deepseek_v3", "qwen3_moe"])
def test_other_architectures_are_read_too(family: str) -> None:
    """Attention under another name, latent attention with wider queries than values, and experts."""
    ids, mask, response = batch()
    reader = Exactly(HEADS, response.bool(), 10, (5, 20))
    model = models.build(family)
    with torch.no_grad(), probe(model, HEADS.layers, reader):
        model(input_ids=ids, attention_mask=mask)
    check_exact(reader)
    found = measure(model, ids, mask, response, heads=HEADS, horizon=(5, 20))
    assert_same(found, reader.rhythm())


def test_embeddings_in_place_of_tokens_are_refused() -> None:
    model = models.build("llama")
    reader = Exactly(HEADS, torch.ones(1, 9).bool(), 10, (5, 20))
    with pytest.raises(ValueError, match="is probed on input_ids"), probe(model, [0], reader):
        model(inputs_embeds=torch.zeros(1, 9, 32))


def test_the_pass_ends_after_the_last_probed_layer() -> None:
    model = models.build("qwen3")
    ran: list[int] = []
    for layer, module in enumerate(model.model.layers):
        module.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
    layers = model.model.layers
    measure(model, *batch(), heads=Heads(((0, 0),), ((1, 2),)))
    assert ran == [0, 1] and model.model.layers is layers and len(layers) == 3


def test_a_softcap_is_read_where_it_acts() -> None:
    """Transformers' sdpa leaves Gemma 2's softcap out: what is measured is the attention that the model has."""
    ids, mask, response = batch()
    capped, plain = (
        measure(models.build("gemma2", how), ids, mask, response, heads=HEADS) for how in ("eager", "sdpa")
    )
    assert (capped.waad - plain.waad).abs().max() > 0.01
    head_scores(models.build("gemma2", "sdpa"), ids, mask, response, layers=[0, 1])  # rows sum to 1 without the cap


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
    """Neither reading nor scoring nor selecting makes a T x T map, or the logits of every token."""
    model, largest_at = models.build("qwen3"), {}
    for length in (1024, 2048):
        ids = torch.randint(3, 64, (1, length), generator=torch.Generator().manual_seed(1))
        ones, spans = torch.ones_like(ids), [(start, start + 16) for start in range(0, length, 16)]
        with Largest() as largest:
            measure(model, ids, ones, ones)
            head_scores(model, ids, ones, ones, sentences=[spans], needle=[(5, 9)])
        largest_at[length] = largest.elements
    assert largest_at[2048] < 2048 * 2048 / 4  # the model's four heads' maps would be 16 times this
    assert largest_at[2048] <= 2.1 * largest_at[1024]


def test_learned_sinks_take_their_share() -> None:
    """gpt-oss counts a logit beside its keys: rows sum to less than 1, and WAAD starts from W times that."""
    model = models.build("gpt_oss")
    for layer in model.model.layers:
        layer.self_attn.sinks.data.copy_(torch.tensor([3.0, -20.0, 1.0, 0.0]))
    ids, mask, response = batch()
    reader = Exactly(Heads(((0, 0), (1, 1)), ((0, 2),)), response.bool(), 10, (5, 20))
    with torch.no_grad(), probe(model, [0, 1], reader):
        model(input_ids=ids, attention_mask=mask)
    check_exact(reader)
    shares = [dense.attention_map(attention).sum(-1)[0, :, 40] for attention in reader.seen.values()]
    assert shares[0][0] < 0.9 and shares[1][1] > 0.99


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", models.CONFIGS)
def test_a_gpu_reads_the_same(family: str, dtype: torch.dtype) -> None:
    """Against the definitions on the very queries and keys that the GPU had."""
    model = models.build(family).to("cuda", dtype)
    ids, mask, response = (x.cuda() for x in batch())
    reader = Exactly(HEADS, response.bool(), 10, (5, 20))
    with torch.no_grad(), probe(model, HEADS.layers, reader):
        model(input_ids=ids, attention_mask=mask)
    check_exact(reader)
