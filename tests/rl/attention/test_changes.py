"""Hidden tokens and even heads against dense attention from the very queries, keys and values of each layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from reference import models
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rl.attention import ProbeError, suppress, uniform
from rl.attention.interface import changed

FAMILIES = [(family, kind) for family in models.CONFIGS for kind in ("sdpa", "eager")]
FAMILIES.remove(("gpt_oss", "sdpa"))  # its learned sinks have no sdpa
HEADS = ((0, 1), (0, 3), (2, 0))
WINDOWS = {"mistral": (9, 9, 9), "gemma2": (9, None, 9), "gemma3": (9, None, 9), "gpt_oss": (9, None, 9)}


def batch(padded: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Two sequences, and which of their tokens are hidden: a stretch of each, one from the first token on."""
    ids = torch.randint(3, 64, (2, 24), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 24, dtype=torch.long)
    if padded:
        mask[0, :4], mask[1, 20:] = 0, 0
    hidden = torch.zeros(2, 24, dtype=torch.bool)
    hidden[0, 4:9], hidden[1, 0:5] = True, True
    return ids, mask, hidden


def seen_by(family: str, layer: int, mask: Tensor) -> Tensor:
    """Which keys rows see, (B, T, T), from the definition."""
    place = torch.arange(mask.shape[1])
    distance = place[:, None] - place[None, :]
    window = WINDOWS.get(family, (None, None, None))[layer] or len(place)
    return (distance >= 0) & (distance < window) & mask.bool()[:, None, :]


def scores_of(model: nn.Module, q: Tensor, k: Tensor, kwargs: dict[str, Any]) -> Tensor:
    scores = q.double() @ k.double().repeat_interleave(q.shape[1] // k.shape[1], 1).transpose(-1, -2)
    scores = scores * kwargs["scaling"]
    cap = kwargs.get("softcap") if model.config._attn_implementation == "eager" else None  # type: ignore[union-attr]
    return scores if cap is None else cap * torch.tanh(scores / cap)


def by_definition(model: nn.Module, family: str, mask: Tensor, change: Callable[..., Tensor]) -> Callable[..., Any]:
    """Attention in float64, in which `change` makes weights of scores, what rows see, the layer and the sinks."""

    def attend(_: Callable, module: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
        weights = change(
            scores_of(model, q, k, kwargs),
            seen_by(family, module.layer_idx, mask),
            module.layer_idx,
            kwargs.get("s_aux"),
        )
        values = v.double().repeat_interleave(q.shape[1] // v.shape[1], 1)
        return (weights @ values).transpose(1, 2).to(q.dtype).contiguous(), None

    return attend


def softmax(scores: Tensor, seen: Tensor, sinks: Tensor | None) -> Tensor:
    scores = scores.masked_fill(~seen[:, None], -torch.inf)
    if sinks is not None:
        column = sinks.double()[None, :, None, None].expand(*scores.shape[:-1], 1)
        return torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    return scores.softmax(-1).nan_to_num(0.0)


def logits(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_hidden_tokens_are_gone_from_the_softmax(family: str, kind: str, padded: bool) -> None:
    model = models.build(family, kind)
    ids, mask, hidden = batch(padded)

    def change(scores: Tensor, seen: Tensor, _: int, sinks: Tensor | None) -> Tensor:
        gone = hidden[:, None, :] & ~hidden[:, :, None]
        return softmax(scores, seen & ~gone, sinks)

    with changed(model, None, by_definition(model, family, mask, change)):
        want = logits(model, ids, mask)
    with suppress(model, hidden):
        got = logits(model, ids, mask)
    real = mask.bool()
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got[real], want[real], atol=5e-4, rtol=1e-4)
    plain = logits(model, ids, mask)
    torch.testing.assert_close(plain[0, 4:9], got[0, 4:9], atol=5e-4, rtol=1e-4)  # what is hidden sees as ever
    assert (plain - got)[0, 9:].abs().max() > 1e-2


def test_what_is_hidden_makes_no_difference_any_more() -> None:
    """Other words in a hidden sentence change nothing behind it."""
    model = models.build("qwen3")
    ids, mask, hidden = batch(padded=False)
    other = torch.where(hidden, (ids + 7) % 64, ids)
    with suppress(model, hidden):
        left, right = logits(model, ids, mask), logits(model, other, mask)
    behind = ~hidden
    torch.testing.assert_close(left[behind], right[behind], atol=1e-5, rtol=0)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_even_heads_are_means_of_what_they_see(family: str, kind: str, padded: bool) -> None:
    model = models.build(family, kind)
    ids, mask, _ = batch(padded)

    def change(scores: Tensor, seen: Tensor, layer: int, sinks: Tensor | None) -> Tensor:
        weights = softmax(scores, seen, sinks)
        even = seen.double() / seen.sum(-1, keepdim=True).clamp_min(1)
        for at, head in HEADS:
            if at == layer:
                weights[:, head] = even
        return weights

    with changed(model, None, by_definition(model, family, mask, change)):
        want = logits(model, ids, mask)
    with uniform(model, HEADS):
        got = logits(model, ids, mask)
    real = mask.bool()
    torch.testing.assert_close(got[real], want[real], atol=5e-4, rtol=1e-4)
    assert (logits(model, ids, mask) - got)[real].abs().max() > 1e-2


def test_even_weights_are_told() -> None:
    model = models.build("qwen3", "eager")
    ids, mask, _ = batch(padded=False)
    with torch.no_grad(), uniform(model, HEADS):
        maps = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    torch.testing.assert_close(maps[2][0, 0, 3], torch.tensor([0.25] * 4 + [0.0] * 20))
    assert not torch.allclose(maps[1][0, 0, 3, :4], torch.full((4,), 0.25), atol=1e-2)


@pytest.mark.parametrize("family", ["qwen3", "mistral"])
def test_even_heads_go_on_from_a_cache(family: str) -> None:
    model = models.build(family)
    ids, mask, _ = batch(padded=False)
    with torch.no_grad(), uniform(model, HEADS):
        want = logits(model, ids, mask)
        begun = model(input_ids=ids[:, :20], use_cache=True)
        rest = model(input_ids=ids[:, 20:], past_key_values=begun.past_key_values, use_cache=True).logits
    torch.testing.assert_close(rest, want[:, 20:], atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v3", "gpt_neox"])
def test_other_architectures_are_changed_too(family: str) -> None:
    model = models.build(family)
    ids, mask, hidden = batch(padded=False)
    plain = logits(model, ids, mask)
    for change in (suppress(model, hidden), uniform(model, HEADS)):
        with change:
            assert (logits(model, ids, mask) - plain).abs().max() > 1e-3


def test_nothing_is_left_behind() -> None:
    model = models.build("qwen3")
    table = dict(ALL_ATTENTION_FUNCTIONS._local_mapping)
    ids, mask, hidden = batch(padded=True)
    plain = logits(model, ids, mask)
    for change in (suppress(model, hidden), uniform(model, HEADS)):
        with pytest.raises(RuntimeError), change:
            raise RuntimeError
        assert ALL_ATTENTION_FUNCTIONS._local_mapping == table
        assert torch.equal(logits(model, ids, mask), plain)


def test_what_cannot_be_changed_is_said() -> None:
    ids, mask, hidden = batch(padded=False)
    model = models.build("qwen3_next")
    with pytest.raises(ProbeError, match=r"layers \[0, 2\].* bypass"), suppress(model, hidden):
        logits(model, ids, mask)
    model = models.build("qwen3")
    with pytest.raises(ProbeError, match=r"\(0, 4\) is no"), uniform(model, [(0, 4)]):
        pass
    with pytest.raises(ProbeError, match=r"layers \[9\]"), uniform(model, [(9, 0)]):
        pass
    model.config._attn_implementation = "flash_attention_2"
    for change in (suppress(model, hidden), uniform(model, HEADS)):
        with pytest.raises(ProbeError, match="under sdpa and eager alone, not flash_attention_2"), change:
            pass
    model.config._attn_implementation = "sdpa"
    with pytest.raises(ProbeError, match="use_cache=False"), suppress(model, hidden[:1]):
        logits(model, ids, mask)
