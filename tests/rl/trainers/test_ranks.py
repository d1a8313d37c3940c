"""Credit in several real processes: the weights, heads and training of two ranks are those of one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from reference.launched import run


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("ranks") / "alone", "plain", 1)[0]


def by_row(results: list[dict[str, Any]]) -> dict[int, list[float]]:
    """Every rollout's weights by its place among all ranks', without the padding, which is each rank's own."""
    pairs = [pair for result in results for pair in zip(result["rows"].tolist(), result["weights"], strict=True)]
    return {row: [weight for weight in weights.tolist() if weight] for row, weights in pairs}


@pytest.mark.parametrize("how", ["ddp", "zero2", "zero3"])
def test_two_ranks_are_one(tmp_path: Path, alone: dict[str, Any], how: str) -> None:
    """Four steps of eight rollouts: 4 on each of two ranks, or 4 twice on one."""
    results = run(tmp_path / how, how, 2)
    one, two = by_row([alone]), by_row(results)
    assert sorted(one) == sorted(two) == list(range(8))
    for row in one:
        assert two[row] == pytest.approx(one[row], abs=1e-6)
    assert len({weight for weights in one.values() for weight in weights}) > 2
    assert results[0]["heads"] == results[1]["heads"] == alone["heads"]
    for row, expected in zip(results[0]["metrics"], alone["metrics"], strict=True):
        assert row == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in expected.items()}
    for name, value in alone["policy"].items():
        torch.testing.assert_close(results[0]["policy"][name].float(), value, atol=2e-3, rtol=1e-2)


@pytest.fixture(scope="module")
def judged_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("judged") / "alone", "plain", 1, "frozen_ranks.py")[0]


@pytest.mark.parametrize("how", ["ddp", "zero2", "zero3"])
def test_the_frozen_copy_of_two_ranks_is_that_of_one(tmp_path: Path, judged_alone: dict[str, Any], how: str) -> None:
    """The copy writes what it writes in one process, four steps long, though the policy moves and takes its place once.

    Each rank audits its own four of eight rollouts; averages and lambda are those of all eight, on both.
    """
    results = run(tmp_path / how, how, 2, "frozen_ranks.py")
    steps = [result["written"][i : i + 4] for i in range(0, 16, 4) for result in results]
    assert [text for step in steps for text in step] == judged_alone["written"]
    assert len(judged_alone["written"]) == 32 and len(set(judged_alone["written"])) > 8
    for result in results:
        assert result["scorer"] == judged_alone["scorer"]
    assert judged_alone["scorer"]["copy_taken_at"] == 4 and judged_alone["scorer"]["multiplier"] > 1.0
    for name, value in judged_alone["policy"].items():
        torch.testing.assert_close(results[0]["policy"][name].float(), value, atol=2e-3, rtol=1e-2)
