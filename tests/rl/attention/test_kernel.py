"""The log-sum-exp that rides on the kernel is the exact one, and asking for it changes nothing."""

import pytest
import torch
from reference import models
from torch.nn.functional import scaled_dot_product_attention

from rl.attention import Heads, RhythmReader, measure, probe
from rl.attention.kernel import LseTap
from rl.attention.layer import Attention
from rl.attention.moments import row_lse

HEADS = Heads(local=((0, 0), (1, 3)), global_=((1, 2),))


def tensors(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 40, 8, generator=generator).to(dtype) for _ in range(3))
    return q * 4, k, v


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_the_kernels_lse_is_exact(masked: bool, trained: bool) -> None:
    q, k, v = tensors()
    mask = torch.ones(40, 40, dtype=torch.bool).tril() if masked else None
    plain = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=not masked)
    with LseTap() as tap:
        seen = scaled_dot_product_attention(q.requires_grad_(trained), k, v, attn_mask=mask, is_causal=not masked)
    assert torch.equal(plain, seen) and tap.lse is not None and not tap.lse.requires_grad
    attention = Attention(q=q.detach(), k=k, keys=torch.ones(2, 40).bool(), scale=8**-0.5)
    torch.testing.assert_close(tap.lse, row_lse(attention, slice(0, 40)), atol=5e-6, rtol=1e-6)


def test_an_inexact_lse_is_left_alone() -> None:
    q, k, v = tensors(torch.bfloat16)
    with LseTap() as tap:
        scaled_dot_product_attention(q, k, v, is_causal=True)
    assert tap.lse is None


def test_under_autocast_the_kernels_dtype_is_known() -> None:
    """Queries in float32 are rounded below the interface: what the kernel attended with is read."""
    q, k, v = tensors()
    with LseTap() as tap, torch.autocast("cpu", torch.bfloat16):
        scaled_dot_product_attention(q, k, v, is_causal=True)
    assert tap.dtype is torch.bfloat16 and tap.lse is None
    model = models.build("llama")
    reader = Layers(HEADS, torch.ones(1, 30).bool(), 10, (5, 20))
    forward = model.model.layers[0].self_attn.q_proj.forward
    model.model.layers[0].self_attn.q_proj.forward = lambda x: forward(x).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), probe(model, HEADS.layers, reader):
        model(input_ids=torch.arange(3, 33)[None])
    assert {attention.q.dtype for attention in reader.seen} == {torch.bfloat16}


@pytest.mark.parametrize("first", ["user", "probe"])
def test_tf32_is_left_as_the_user_set_it(first: str) -> None:
    """Transformers sets it by torch's newer switch, before or after a first probe."""
    matmul, before = torch.backends.cuda.matmul, torch.backends.fp32_precision
    reader = Layers(HEADS, torch.ones(1, 30).bool(), 10, (5, 20))

    def read() -> None:
        with torch.no_grad(), probe(models.build("llama"), HEADS.layers, reader):
            models.build("llama")(input_ids=torch.arange(3, 33)[None])

    try:
        if first == "probe":
            read()
        torch.backends.fp32_precision = "tf32"
        read()
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision, torch.backends.fp32_precision = "none", before
    assert matmul.fp32_precision == before


def test_flex_attention_is_read_without_its_lse() -> None:
    model = models.build("llama", "flex_attention", head_dim=16)
    plain = models.build("llama", "sdpa", head_dim=16)
    ids = torch.randint(3, 64, (1, 128), generator=torch.Generator().manual_seed(0))
    found = [measure(m, ids, torch.ones_like(ids), torch.ones_like(ids), heads=HEADS) for m in (model, plain)]
    torch.testing.assert_close(found[0].waad, found[1].waad, atol=1e-4, rtol=0)


def test_no_kernel_no_lse() -> None:
    q, k, v = tensors()
    with LseTap() as tap:
        torch.softmax(q @ k.transpose(-1, -2), -1) @ v
    assert tap.lse is None


class Layers(RhythmReader):
    """Keep what was read."""

    def read(self, layer: int, attention: Attention) -> None:
        self.seen = [*getattr(self, "seen", []), attention]
        super().read(layer, attention)


@pytest.mark.parametrize(("family", "implementation", "given"), [("llama", "sdpa", True), ("llama", "eager", False)])
def test_a_training_forward_gives_its_lse(family: str, implementation: str, given: bool) -> None:
    """In a real pass with gradients and padding; eager attention has no kernel to take it from."""
    model = models.build(family, implementation)
    ids = torch.randint(3, 64, (2, 50), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    reader = Layers(HEADS, mask.bool(), 10, (5, 20))
    with probe(model, HEADS.layers, reader):
        model(input_ids=ids, attention_mask=mask).logits.sum().backward()
    for attention in reader.seen:
        assert (attention.lse is not None) == given
        if attention.lse is not None:
            exact = row_lse(attention, slice(0, 50))
            rows = mask.bool().unsqueeze(1).expand_as(exact)
            torch.testing.assert_close(attention.lse[rows], exact[rows], atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_the_kernels_of_a_gpu_are_exact(dtype: torch.dtype, masked: bool) -> None:
    q, k, v = (x.cuda() for x in tensors(dtype))
    mask = torch.ones(40, 40, dtype=torch.bool, device="cuda").tril() if masked else None
    with LseTap() as tap:
        scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=not masked)
    attention = Attention(q=q, k=k, keys=torch.ones(2, 40, device="cuda").bool(), scale=8**-0.5)
    assert tap.lse is not None and tap.dtype == dtype
    torch.testing.assert_close(tap.lse, row_lse(attention, slice(0, 40)), atol=1e-5, rtol=1e-6)
