"""Golden numbers by hand, and the banded forms against the definitions on random shapes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import dense

from rl.attention import bands
from rl.attention.layer import Attention
from rl.attention.moments import row_lse, row_moments
from rl.attention.readers import response_columns

ALL = slice(0, 4)


def test_golden_two_equal_keys() -> None:
    """Queries of zero spread attention evenly: A[0] = 1; A[1] = 1/2, 1/2; A[2] = 1/3 each; A[3] = 1/4 each."""
    attention = Attention(q=torch.zeros(1, 1, 4, 2), k=torch.ones(1, 1, 4, 2), keys=torch.ones(1, 4).bool(), scale=1.0)
    lse = row_lse(attention, ALL)
    torch.testing.assert_close(lse.exp()[0, 0], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(row_moments(attention, lse, ALL).distance[0, 0], torch.tensor([0.0, 0.5, 1.0, 1.5]))
    # W = 2: distances clip at 2. t = 3: (0 + 1 + 2 + 2) / 4.
    torch.testing.assert_close(bands.waad(attention, [0], lse, ALL, 2)[0, 0], torch.tensor([0.0, 0.5, 1.0, 1.25]))
    # Response rows 1..3, horizon [1, 2]: s = 1 gets (1/3 + 1/4) / 2; s = 2 1/4; s = 3 nothing.
    response = torch.tensor([[False, True, True, True]])
    expected = torch.tensor([0.0, 7 / 24, 1 / 4, 0.0])  # s = 0 is no response token
    torch.testing.assert_close(bands.fai(attention, [0], lse, ALL, response, (1, 2))[0, 0], expected)


def test_golden_sliding_window_and_padding() -> None:
    """With a window of 2 and token 0 padding: A[1] = key 1; A[2] = keys 1, 2; A[3] = keys 2, 3, half each."""
    keys = torch.tensor([[False, True, True, True]])
    attention = Attention(q=torch.zeros(1, 1, 4, 2), k=torch.ones(1, 1, 4, 2), keys=keys, scale=1.0, sliding=2)
    lse = row_lse(attention, ALL)
    assert lse[0, 0, 0] == torch.inf
    torch.testing.assert_close(row_moments(attention, lse, ALL).distance[0, 0], torch.tensor([0.0, 0.0, 0.5, 0.5]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Attention, torch.Tensor, int, tuple[int, int]]:
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 300))
    key_heads, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    q = torch.randn(batch, key_heads * group, length, 8, generator=generator) * 3
    k = torch.randn(batch, key_heads, length, 8, generator=generator)
    keys = torch.ones(batch, length, dtype=torch.bool)
    response = torch.zeros(batch, length, dtype=torch.bool)
    for b in range(batch):
        start = draw(st.integers(0, length - 1))
        stop = draw(st.integers(start, length))
        keys[b, :start], keys[b, stop:] = False, False  # stop == start: a fully masked row
        response[b, min(stop, draw(st.integers(start, stop))) : stop] = True
    low = draw(st.integers(1, 40))
    attention = Attention(
        q=q,
        k=k,
        keys=keys,
        scale=8**-0.5,
        softcap=draw(st.sampled_from([None, 5.0])),
        sliding=draw(st.sampled_from([None, 1, 7, 64])),
    )
    return attention, response, draw(st.integers(1, 20)), (low, draw(st.integers(low, 150)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_equals_the_definitions(case: tuple) -> None:
    attention, response, window, horizon = case
    a = dense.attention_map(attention)
    columns, rows = response_columns(response), response.unsqueeze(1)
    lse, heads = row_lse(attention, columns), range(attention.q.shape[1])
    distance = row_moments(attention, lse, columns).distance * rows[..., columns]
    expected = (dense.mean_distance(a) * rows)[..., columns]
    torch.testing.assert_close(distance.double(), expected, atol=2e-4, rtol=1e-5)
    near = bands.waad(attention, heads, lse, columns, window)
    torch.testing.assert_close((near * rows).double(), dense.waad(a, window) * rows, atol=2e-4, rtol=0)
    far = bands.fai(attention, heads, lse, columns, response, horizon)
    torch.testing.assert_close(far.double(), dense.fai(a, response, horizon) * rows, atol=1e-9, rtol=1e-5)


def test_heads_keep_their_key_heads() -> None:
    q, k = torch.randn(2, 6, 20, 4), torch.randn(2, 3, 20, 4)
    attention = Attention(q=q, k=k, keys=torch.ones(2, 20).bool(), scale=0.5)
    whole = row_lse(attention, slice(0, 20))
    part = row_lse(attention.of([5, 2, 0]), slice(0, 20))
    torch.testing.assert_close(part, whole[:, [5, 2, 0]])
