"""A step whose gradient is none changes nothing, is counted, and too many of them end training."""

import math
from pathlib import Path

import pytest
from reference import grpo, launched
from reference.guarded import Weights, spoil_losses

from rl.trainers import Alarmed, Guard
from rl.trainers.guard import SKIPPED


def test_what_is_bad_by_hand() -> None:
    guard = Guard(skips=1, skip_above=10.0)
    assert [guard.is_bad(norm) for norm in (0.0, 10.0, 10.1, math.nan, math.inf)] == [False, False, True, True, True]
    assert not Guard().is_bad(1e30)
    for step, skipped in enumerate((True, False, True), 1):
        guard.count(step, 11.0, skipped)
    assert guard.total == 2 and not guard.is_over
    guard.check()
    guard.count(4, math.nan, True)
    assert guard.is_over
    with pytest.raises(Alarmed, match=r"2 steps in a row were skipped, up to step 4: the gradient's norm is no number"):
        guard.check()


@pytest.mark.parametrize(("factor", "above"), [(math.nan, 0.0), (math.inf, 0.0), (1e6, 1e3)])
def test_a_skipped_step_changes_neither_weights_nor_moments(tmp_path: Path, factor: float, above: float) -> None:
    trainer = grpo.trainer(tmp_path, grpo.CREDIT, max_steps=4, learning_rate=1e-2)
    trainer.guard = Guard(skips=5, skip_above=above)
    spoil_losses(trainer, (2, 3), factor)
    weights = Weights(trainer)
    trainer.train()
    assert weights.changed == [True, False, False, True]
    assert all(weight.isfinite().all() for weight in grpo.weights_of(trainer).values())
    steps = {int(state["step"]) for state in trainer.optimizer.state.values()}
    assert steps == {2}
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [row.get(SKIPPED) for row in rows] == [None, 1.0, 2.0, 2.0]


def test_too_many_in_a_row_end_training_with_the_weights_before(tmp_path: Path) -> None:
    trainer = grpo.trainer(tmp_path, grpo.CREDIT, max_steps=9, save_strategy="steps", save_steps=100)
    trainer.guard = Guard(skips=1)
    spoil_losses(trainer, tuple(range(2, 9)), math.nan)
    trainer.train()
    assert trainer.state.global_step == 3
    with pytest.raises(Alarmed):
        trainer.guard.check()
    assert (tmp_path / "checkpoint-3" / "manifest.json").is_file()


def test_a_resumed_run_counts_on(tmp_path: Path) -> None:
    trainer = grpo.trainer(tmp_path, grpo.CREDIT, max_steps=6, save_strategy="steps", save_steps=3)
    trainer.guard = Guard(skips=5)
    spoil_losses(trainer, (2, 3, 5), math.nan)
    trainer.train()
    resumed = grpo.trainer(tmp_path, grpo.CREDIT, max_steps=6)
    resumed.guard = Guard(skips=2)
    spoil_losses(resumed, (4, 5), math.nan)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.state.global_step == 4 and resumed.guard.total == 3  # two before the checkpoint and one after
    with pytest.raises(Alarmed, match="3 steps in a row"):
        resumed.guard.check()
    again = Guard(skips=2)
    again.restore(resumed.guard.state())
    assert again.total == 3 and not again.is_over


@pytest.mark.parametrize("how", ["zero2", "zero3"])
@pytest.mark.parametrize("above", ["nan", "large"])
def test_zero_skips_as_well(tmp_path: Path, how: str, above: str) -> None:
    """Two real processes: both skip the same steps, of which one alone had a gradient that was none."""
    ranks = launched.run(tmp_path / "ranks", how, 2, "guarded.py", above)
    assert ranks[0]["changed"] == [True, False, True]  # where all weights are gathered
    assert [rank["skipped"] for rank in ranks] == [1, 1]
    assert math.isnan(ranks[0]["norms"][1]) if above == "nan" else ranks[0]["norms"][1] > 1e3
