"""What scores become in training: None is no advantage, decoupled rewards are their own, batches may be split."""

from pathlib import Path
from typing import Any

import pytest
import torch
from reference.grpo import TASKS, ByParity, rollouts_by_place, same, trainer, weights_of

from rewards import Rubric, Sample
from rl import tiny
from rl.effort import Dial
from rl.scoring import Scorer

TOKENIZER = tiny.build_tokenizer()


class Some:
    """Judge completions whose length in characters three divides not."""

    def __call__(self, sample: Sample) -> float | None:
        return None if len(sample.completion) % 3 == 0 else float(len(sample.completion) % 2)


class Spreadless:
    def __call__(self, sample: Sample) -> float:
        return 0.3


def scorer(rubric: Rubric, **options: Any) -> Scorer:
    return Scorer(rubric, TASKS, TOKENIZER, group_size=4, **options)


def generated(made: Any) -> dict[str, torch.Tensor]:
    """One generation batch of a trainer, with its advantages."""
    rows = [made.train_dataset[index] for index in (0, 1) for _ in range(4)]
    made.model.train()
    return made._generate_and_score_completions(rows)


def test_what_cannot_be_judged_has_no_advantage_and_no_say_in_its_groups_mean(tmp_path: Path) -> None:
    made = trainer(tmp_path, None, scorer=scorer(Rubric({"some": Some()}, {"some": 1.0})))
    batch = generated(made)
    totals = [rollout.score.total for rollout in made.reward.rollouts]
    assert None in totals and len({total for total in totals if total is not None}) == 2
    for start in (0, 4):
        judged = [total for total in totals[start : start + 4] if total is not None]
        mean = sum(judged) / len(judged) if judged else 0.0
        for index in range(start, start + 4):
            advantage, total = batch["advantages"][index].item(), totals[index]
            assert (advantage == 0.0) if total is None else (advantage > 0) == (total > mean)


def test_decoupled_advantages_reach_the_loss(tmp_path: Path) -> None:
    """Twice the parity's z-score; the part without spread is left out and nothing is divided by zero."""
    rubric = Rubric({"parity": ByParity(), "flat": Spreadless()}, {"parity": 2.0, "flat": 5.0}, "decoupled")
    made = trainer(tmp_path, None, scorer=scorer(rubric))
    batch = generated(made)
    parity = torch.tensor([rollout.score.parts["parity"] for rollout in made.reward.rollouts]).view(2, 4)
    deviation = parity.std(dim=1, keepdim=True)
    expected = torch.where(deviation > 0, 2 * (parity - parity.mean(dim=1, keepdim=True)) / deviation, 0.0)
    torch.testing.assert_close(batch["advantages"].view(2, 4), expected)
    assert deviation.max() > 0
    made.train()
    assert all(torch.isfinite(value).all() for value in weights_of(made).values())


@pytest.mark.parametrize("per_rollout", [False, True])
def test_a_batch_of_eight_is_four_twice(tmp_path: Path, per_rollout: bool) -> None:
    """What is asked for does not depend on how a batch is split, and no more does what is learnt."""
    dial = Dial(kind="relative", low=0.2, high=1.5, wording=" {effort}", per_rollout=per_rollout)
    made = [
        trainer(
            tmp_path / str(size),
            None,
            scorer=scorer(Rubric({"parity": ByParity()}, {"parity": 1.0}), dial=dial),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
            rollout_func=rollouts_by_place,
            optim="sgd",
        )
        for size in (8, 4)
    ]
    for one in made:
        one.train()
    whole, split = (weights_of(one) for one in made)
    for name, value in whole.items():
        torch.testing.assert_close(split[name], value, atol=1e-4, rtol=1e-3)
    asked = [[rollout.sample.effort for rollout in one.reward.rollouts] for one in made]
    assert asked[0] == asked[1] and len(set(asked[0])) == (8 if per_rollout else 2)


def test_prompts_say_what_is_asked_for(tmp_path: Path) -> None:
    dial = Dial(kind="relative", low=0.2, high=1.5, wording=" Effort {effort}.")
    made = trainer(tmp_path, None, scorer=scorer(Rubric({"parity": ByParity()}, {"parity": 1.0}), dial=dial))
    batch = generated(made)
    for rollout, ids, mask in zip(made.reward.rollouts, batch["prompt_ids"], batch["prompt_mask"], strict=True):
        shown = TOKENIZER.decode(ids[mask.bool()])
        assert f" Effort {rollout.sample.effort:.2g}." in shown and rollout.prompt in shown


def test_training_without_a_dial_is_as_it_was(tmp_path: Path) -> None:
    """Scoring draws no chance: a rubric of other parts that weigh nothing trains the same policy."""
    plain = trainer(tmp_path / "a", None)
    plain.train()
    rubric = Rubric({"parity": ByParity(), "flat": Spreadless()}, {"parity": 1.0, "flat": 0.0})
    more = trainer(tmp_path / "b", None, scorer=scorer(rubric))
    more.train()
    assert same(weights_of(plain), weights_of(more))
