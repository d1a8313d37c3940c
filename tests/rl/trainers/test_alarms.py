"""Alarms: when they go off, by hand; that they go off once; and that they stop real training with a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
from reference.grpo import rollouts_by_place, trainer
from transformers import TrainerCallback

from rl.trainers.alarms import Alarm, Alarmed, Alarms

ENTROPY = Alarm("entropy", below=0.5, steps=2, stops=True)


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ([], None),
        ([4.0, 2.0], None),  # still the start, whose mean is 3
        ([4.0, 2.0, 1.0], 0.5),  # (2 + 1) / 2 = 1.5 of 3
        ([4.0, 2.0, 9.0, 0.0, 0.3], 0.05),
        ([0.0, 0.0, 1.0], None),  # nothing can be said in terms of 0
    ],
)
def test_the_ratio_by_hand(values: list[float], ratio: float | None) -> None:
    assert ENTROPY.ratio(values) == (None if ratio is None else pytest.approx(ratio))
    assert ENTROPY.is_low(values) == (ratio is not None and ratio < 0.5)


class Shrinking:
    """Rollouts as they are by place, that are cut short from the third step on: a collapse of length."""

    def __call__(self, prompts: list, trained: Any) -> dict[str, list]:
        found = rollouts_by_place(prompts, trained)
        if trained.state.global_step >= 2:
            found["completion_ids"] = [ids[:6] for ids in found["completion_ids"]]
        return found


class Logs(TrainerCallback):
    """Keep what is logged, after the alarms have added to it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.rows.append(dict(logs))


def run(folder: Path, alarm: Alarm, said: list[str], **changes: Any) -> tuple[Any, Alarms, Logs]:
    alarms = Alarms([alarm], said.append)
    policy = trainer(
        folder, None, rollout_func=Shrinking(), max_steps=7, save_strategy="steps", save_steps=100, **changes
    )
    policy.add_callback(alarms)
    logs = Logs()
    policy.add_callback(logs)
    return policy, alarms, logs


def test_an_alarm_stops_training_with_a_checkpoint_and_is_passed_by(tmp_path: Path) -> None:
    """Lengths of 18.75, then 6: with means of 2 steps, 12.4 at step 3 is above half, and 6 at step 4 below it."""
    said: list[str] = []
    alarm = Alarm("length", below=0.5, steps=2, stops=True)
    policy, alarms, logs = run(tmp_path, alarm, said)
    policy.train()
    assert policy.state.global_step == 4 and (tmp_path / "checkpoint-4" / "trainer_state.json").is_file()
    with pytest.raises(Alarmed, match=r"alarm: length 6 is below 0.5 of its start 18.8 \(over 2 steps\) at step 4"):
        alarms.check()
    ratios = [row.get("alarm/length/ratio") for row in logs.rows[:4]]
    assert ratios == [None, None, pytest.approx(12.375 / 18.75), pytest.approx(6 / 18.75)]
    again, later, _ = run(tmp_path, alarm, said)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    later.check()
    assert again.state.global_step == 7 and not said


def test_a_warning_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    policy, alarms, _ = run(tmp_path, Alarm("length", below=0.5, steps=2, stops=False), said)
    policy.train()
    alarms.check()
    assert policy.state.global_step == 7 and len(said) == 1 and not (tmp_path / "checkpoint-4").exists()
