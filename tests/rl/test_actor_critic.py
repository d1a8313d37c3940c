"""PPO's equations against numbers by hand, a slow loop, and what must change nothing."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rl.actor_critic import explained_variance, gae, token_rewards, value_loss, whitened


def alone(tensor: Tensor) -> Tensor:
    """A sum over one rank."""
    return tensor


def row(*values: float) -> Tensor:
    return torch.tensor([values])


def own(text: str) -> Tensor:
    return torch.tensor([[character == "x" for character in text]])


def looped(rewards: Sequence[float], values: Sequence[float], last: float, gamma: float, lam: float) -> list[float]:
    """GAE as its paper writes it: sums of discounted temporal differences."""
    following = [*values[1:], last][: len(values)]
    delta = [r + gamma * after - v for r, v, after in zip(rewards, values, following, strict=True)]
    steps = range(len(delta))
    return [math.fsum((gamma * lam) ** (k - t) * delta[k] for k in steps if k >= t) for t in steps]


def test_by_hand() -> None:
    """Deltas -0.25 = 0 + 0.5 * 0.5 - 0.5, 0.25 = 0 + 0.5 * 1.5 - 0.5 and 0.5 = 2 - 1.5; gamma lambda = 0.25."""
    found = gae(row(0.0, 0.0, 2.0), row(0.5, 0.5, 1.5), own("xxx"), torch.tensor([0.0]), 0.5, 0.5)
    assert found.tolist() == [[-0.25 + 0.25 * (0.25 + 0.25 * 0.5), 0.25 + 0.25 * 0.5, 0.5]]


def test_the_value_behind_a_cut_completion_is_part_of_its_last_difference() -> None:
    found = gae(row(0.0, 1.0), row(0.0, 0.5), own("xx"), torch.tensor([2.0]), 0.5, 1.0)
    assert found.tolist() == [[0.25 + 0.5 * 1.5, 1.5]]


def test_lambda_of_one_is_the_return_less_the_value_and_of_zero_one_difference() -> None:
    rewards, values = row(1.0, 2.0, 4.0), row(3.0, 5.0, 7.0)
    mask, last = own("xxx"), torch.tensor([0.0])
    assert gae(rewards, values, mask, last, 1.0, 1.0).tolist() == [[7.0 - 3.0, 6.0 - 5.0, 4.0 - 7.0]]
    assert gae(rewards, values, mask, last, 1.0, 0.0).tolist() == [[1.0 + 5.0 - 3.0, 2.0 + 7.0 - 5.0, 4.0 - 7.0]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 300),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    lam=st.sampled_from([0.0, 0.9, 0.95, 1.0]),
    seed=st.integers(0, 1000),
)
def test_is_the_slow_loop_whatever_stands_between(length: int, gamma: float, lam: float, seed: int) -> None:
    """A tool's answers and padding, full of nan, are passed over: the next state is that of the next own token."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(2, length, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(2, length, generator=generator) < 0.6
    last = torch.randn(2, generator=generator, dtype=torch.float64)
    inputs = [x.masked_fill(~mask, torch.nan) for x in (rewards, values)]
    found = gae(*inputs, mask, last, gamma, lam)
    assert (found[~mask] == 0).all()
    for index in range(2):
        kept = mask[index]
        expected = looped(rewards[index][kept].tolist(), values[index][kept].tolist(), last[index].item(), gamma, lam)
        torch.testing.assert_close(found[index][kept], torch.tensor(expected, dtype=torch.float64))


def test_a_completion_without_own_tokens_has_no_advantage() -> None:
    nothing = gae(row(1.0, 1.0), row(1.0, 1.0), own(".."), torch.tensor([5.0]), 1.0, 1.0)
    assert nothing.tolist() == [[0.0, 0.0]]


def test_the_score_falls_on_the_last_own_token_and_the_kl_on_all() -> None:
    kl = torch.tensor([[0.5, torch.nan, 0.25, torch.nan]])
    assert token_rewards(torch.tensor([1.0]), kl, 2.0, own("x.x.")).tolist() == [[-1.0, 0.0, 0.5, 0.0]]
    assert token_rewards(torch.tensor([1.0]), None, 2.0, own("xx..")).tolist() == [[0.0, 1.0, 0.0, 0.0]]
    assert token_rewards(torch.tensor([1.0]), kl, 2.0, own("....")).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_whitening_by_hand() -> None:
    """Mean 4 and variance (9 + 1 + 1 + 9) / 4 = 5, of the marked tokens alone."""
    x = torch.tensor([[1.0, 3.0, 100.0], [5.0, 7.0, torch.nan]])
    where = torch.tensor([[True, True, False], [True, True, False]])
    found = whitened(x, where, alone)
    torch.testing.assert_close(found, torch.tensor([[-3.0, -1.0, 0.0], [1.0, 3.0, 0.0]]) / math.sqrt(5))


def test_whitening_over_ranks_is_that_of_all_their_tokens() -> None:
    """Each call hears, in turn, what another rank's call would add."""
    ours, theirs = row(1.0, 3.0), row(5.0, 7.0)
    whole = whitened(torch.cat([ours, theirs], dim=1), own("xxxx"), alone)
    others = iter([torch.tensor([12.0, 2.0]), torch.tensor((5.0 - 4) ** 2 + (7.0 - 4) ** 2)])
    part = whitened(ours, own("xx"), lambda tensor: tensor + next(others))
    torch.testing.assert_close(part, whole[:, :2])


def test_without_spread_or_tokens_everything_is_zero() -> None:
    assert whitened(row(0.3, 0.3, 0.3), own("xxx"), alone).abs().max() < 1e-3
    assert whitened(row(1.0, 2.0), own(".."), alone).tolist() == [[0.0, 0.0]]


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    found = whitened(row(10000.0, 10001.0), own("xx"), alone)
    torch.testing.assert_close(found, row(-1.0, 1.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("value", "old", "target", "clip", "loss", "clipped"),
    [
        (0.5, 0.0, 1.0, None, 0.125, False),
        (0.1, 0.0, 1.0, 0.2, 0.405, False),  # inside the range
        (0.5, 0.0, 1.0, 0.2, 0.32, True),  # beyond it, towards the return: held at 0.2
        (-0.5, 0.0, 1.0, 0.2, 1.125, False),  # beyond it, away from the return: the loss is its own
        (1.5, 0.0, 1.0, 0.2, 0.32, True),
    ],
)
def test_value_loss_by_hand(
    value: float, old: float, target: float, clip: float | None, loss: float, clipped: bool
) -> None:
    variable = row(value).requires_grad_()
    found, held = value_loss(variable, row(old), row(target), clip)
    torch.testing.assert_close(found.detach(), row(loss))
    assert held.item() is clipped
    found.sum().backward()
    assert variable.grad is not None
    torch.testing.assert_close(variable.grad, row(0.0 if clipped else value - target))


def test_explained_variance_by_hand() -> None:
    """Returns 0, 2, 4 have variance 8/3; what is left of 0, 0, 3 is 0, 2, 1 with variance 2/3."""
    returns = row(0.0, 2.0, 4.0, torch.nan)
    found = explained_variance(row(0.0, 0.0, 3.0, 9.0), returns, own("xxx."), alone)
    assert found == pytest.approx(1 - (2 / 3) / (8 / 3))
    assert explained_variance(row(0.0, 2.0, 4.0), row(0.0, 2.0, 4.0), own("xxx"), alone) == 1
    assert explained_variance(row(0.0, 1.0), row(2.0, 2.0), own("xx"), alone) is None
