"""Estimators of the KL, and its weight."""

import math

import pytest
import torch

from rl.kl import KlWeight, estimate_kl


def test_by_hand() -> None:
    logps, reference = torch.tensor([[math.log(0.5), -1.0]]), torch.tensor([[math.log(0.25), -1.0]])
    assert estimate_kl(logps, reference, "k1")[0].tolist() == pytest.approx([math.log(2), 0.0])
    assert estimate_kl(logps, reference, "k3")[0].tolist() == pytest.approx([0.5 + math.log(2) - 1, 0.0])


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_both_are_unbiased(estimator: str) -> None:
    """The mean over what the policy samples is the KL itself."""
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    each = estimate_kl(policy.log()[None], reference.log()[None], estimator)[0]  # pyright: ignore
    exact = (policy * (policy / reference).log()).sum()
    assert (policy * each).sum().item() == pytest.approx(exact.item(), rel=1e-5)
    assert estimator == "k1" or (each >= 0).all()


def test_an_adapted_weight_follows_its_target() -> None:
    """beta (1 + 0.1 e), e = KL / target - 1 between -0.2 and 0.2."""
    weight = KlWeight(0.5, target=10.0)
    weight.update(11.0)
    assert weight.value == pytest.approx(0.5 * 1.01)
    weight.update(1000.0)
    assert weight.value == pytest.approx(0.5 * 1.01 * 1.02)
    weight.update(0.0)
    assert weight.value == pytest.approx(0.5 * 1.01 * 1.02 * 0.98)


def test_a_fixed_weight_stays() -> None:
    weight = KlWeight(0.5)
    weight.update(1000.0)
    assert weight.value == 0.5
