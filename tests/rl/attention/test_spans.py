"""Attention to spans of keys against dense maps: every family, padded, in several passes, and never a T x T tensor."""

import pytest
import torch
from reference import dense, models
from reference.measured import peak_of

from rl.attention import SpanReader, probe, read
from rl.attention.layer import Attention
from rl.attention.moments import row_lse, span_mass


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three sequences, left-padded and padded on both sides; the last has no row to be averaged over."""
    ids = torch.randint(3, 60, (3, 50), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 50, dtype=torch.bool)
    mask[0, :7] = False
    mask[1, :15], mask[1, 44:] = False, False
    rows = torch.zeros(3, 50, dtype=torch.bool)
    rows[0, 30:], rows[1, 33:44] = True, True
    spans = torch.zeros(3, 2, 50, dtype=torch.bool)
    spans[0, 0, 9:14], spans[1, 0, 17:26], spans[2, 0, 3] = True, True, True
    spans[0, 1, 20:30], spans[1, 1, 26:33] = True, True
    return ids, mask, rows, spans


@pytest.mark.parametrize("family", sorted(models.CONFIGS))
@pytest.mark.parametrize("micro_batch", [None, 1])
def test_mass_is_that_of_dense_maps(family: str, micro_batch: int | None) -> None:
    model = models.build(family)
    ids, mask, rows, spans = batch()
    reader = SpanReader(rows, spans)
    read(model, ids, mask, [0, 2], reader, micro_batch)
    seen: dict[int, Attention] = {}

    class Keep:
        def start(self, num_sequences: int) -> None:
            pass

        def read(self, layer: int, attention: Attention) -> None:
            seen[layer] = attention

    with torch.no_grad(), probe(model, [0, 2], Keep()):
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    for layer, mass in reader.mass().items():
        a = dense.attention_map(seen[layer])
        for sequence in range(2):
            for span in range(2):
                each = a[sequence][:, rows[sequence]][:, :, spans[sequence, span]].sum(-1)
                torch.testing.assert_close(mass[sequence, :, span].double(), each.mean(-1), atol=1e-5, rtol=1e-4)
        assert mass[2].isnan().all() and not mass[:2].isnan().any()
    assert sorted(reader.mass()) == [0, 2]


def attention_of(length: int) -> Attention:
    random = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, heads, length, 16, generator=random) for heads in (4, 2))
    return Attention(q=q, k=k, keys=torch.ones(1, length, dtype=torch.bool), scale=0.25)


def test_spans_that_share_out_all_keys_share_out_all_attention() -> None:
    attention = attention_of(700)
    spans = torch.zeros(1, 3, 700, dtype=torch.bool)
    spans[0, 0, :100], spans[0, 1, 100:399], spans[0, 2, 399:] = True, True, True
    mass = span_mass(attention, row_lse(attention, slice(0, 700)), slice(0, 700), spans)
    torch.testing.assert_close(mass.sum(-1), torch.ones(1, 4, 700), atol=1e-5, rtol=0)
    assert (mass[0, :, :100, 1:] == 0).all()  # they cannot see what comes later


def test_no_map_is_made() -> None:
    """Four times the tokens: memory grows with them, and not with their square."""

    def cost(length: int) -> int:
        attention = attention_of(length)
        spans = torch.zeros(1, 1, length, dtype=torch.bool)
        spans[0, 0, 5:90] = True
        lse = torch.zeros(1, 4, length)
        return peak_of(lambda: span_mass(attention, lse, slice(100, length), spans))

    assert cost(8192) < 5 * cost(2048)
