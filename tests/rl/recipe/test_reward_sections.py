"""Faults of rewards, effort, monitor and their data, said when the recipe is checked."""

import pytest

from rl.recipe import RecipeError, load


def faults(name: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(name, overrides)
    return "\n".join(f"{fault.key}: {fault.reason}" for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("name", "override", "fault"),
    [
        ("quickstart", "rewards.parts.effort={}", "rewards.parts.effort: needs a section `effort` of kind relative"),
        ("effort-grpo", "effort={kind: tokens}", "rewards.parts.effort: needs a section `effort` of kind relative"),
        (
            "effort-l1",
            "effort={kind: relative}",
            "parts.length_target: needs a section `effort` of kind tokens",
        ),
        ("quickstart", "rewards.parts.monitor={}", "rewards.parts.monitor: needs a section `monitor`"),
        ("quickstart", "monitor={kind: frozen}", "monitor: is used by no reward; add a part `monitor`"),
        ("quickstart", "effort={kind: relative}", "effort: is used by no reward; add a part `effort`"),
        ("effort-grpo", "rewards.parts.answer.role=add", "needs a part with the role correct"),
        (
            "monitor-none",
            "data={kind: deceptionbench_pku, path: x.json}",
            "deceptionbench_pku has no gold answers, so the reward answer can judge none",
        ),
        ("monitor-sft", "data.categories=[]", "data.categories: "),
        ("monitor-grpo", "stages.sft.monitor={kind: frozen}", "stages.sft.monitor: has no effect in an sft stage"),
        ("quickstart", "rewards.combine=gate", "rewards.parts: combine gate needs a part with the role gate"),
        ("quickstart", "rewards.combine=product", "rewards.combine: should be 'sum', 'gate'"),
        ("quickstart", "effort={kind: relative, range: [2, 1]}", "effort: range: [2, 1] is empty"),
        ("quickstart", "effort={kind: relative, range: [0, 1]}", "effort: range: [0, 1] is empty"),
        ("quickstart", "effort={kind: relative, values: [0.125]}", "effort.values.0: should be a multiple of 0.01"),
        ("quickstart", "effort={kind: relative, values: []}", "values: should hold at least one effort"),
        ("quickstart", "effort={kind: relative, wording: ' hard'}", "wording: should hold {effort}"),
        ("quickstart", "effort={kind: tokens, wording: ' hard'}", "wording: should hold {tokens}"),
        ("quickstart", "effort={kind: tokens, range: [1.5, 2]}", "effort.range.0: should be a valid integer"),
        ("monitor-judge", "monitor.url=ftp://x", "monitor.url: "),
        ("monitor-judge", "monitor.url='http://user:key@host/v1'", "monitor.url: "),
        ("monitor-judge", "monitor.url='http://host/v1?api_key=1'", "without credentials or a query"),
        ("quickstart", "rewards.multiplier.initial=3", "rewards.multiplier: has no effect with combine sum"),
        ("quickstart", "rewards.parts.answer.weight=1e+300", "rewards.parts.answer.weight: should be less than"),
        (
            "quickstart",
            "rewards.parts={countdown: {}}",
            "parts.countdown: needs the facts numbers, target of each task",
        ),
        (
            "countdown-grpo-uniform",
            "data={kind: jsonl, path: x, facts: {target: t}}",
            "parts.countdown: needs the fact numbers of each task",
        ),
        ("monitor-judge", "monitor.key=sk-1", "monitor.key: unknown key; one of concurrency, key_variable"),
        ("quickstart", "data={kind: deceptionbench_pku}", "data: needs either `path`, a local file, or `name`"),
        (
            "monitor-sft",
            "data={kind: deceptionbench_pku, path: x.json}",
            "data.kind: deceptionbench_pku has no worked completions",
        ),
        (
            "countdown-grpo-uniform",
            "stages.grpo.trainer.updates=7",
            "does not divide prompts_per_step x",
        ),
        ("quickstart", "rewards.multiplier.learning_rate=-1", "rewards.multiplier.learning_rate: should be greater"),
        ("quickstart", "rewards.max_errors=0", "rewards.max_errors: should be greater than 0"),
    ],
)
def test_a_fault_names_its_key(name: str, override: str, fault: str) -> None:
    assert fault in faults(name, override)


def test_decoupled_rewards_have_their_own_scale() -> None:
    said = faults("quickstart", "rewards.combine=decoupled", "stages.grpo.trainer.trl={scale_rewards: batch}")
    assert "stages.grpo.trainer.trl.scale_rewards: has no effect with decoupled rewards" in said


def test_a_key_in_the_address_is_not_quoted_back() -> None:
    assert "sk-123" not in faults("monitor-judge", "monitor.url='http://user:sk-123@host/v1'")


def test_the_papers_batches() -> None:
    """512 responses in 16 gradient steps of 32 (arXiv 2510.13554)."""
    trainer = load("countdown-grpo-coupled").stages[0].trainer
    assert (trainer.rollouts, trainer.updates, trainer.rollouts // trainer.updates) == (512, 16, 32)
    assert trainer.steps == 500 * 16


def test_what_only_one_stage_uses_is_used() -> None:
    """A monitor of the whole recipe need not serve every stage."""
    two = "stages={first: {trainer: {kind: grpo, steps: 1}}, second: {trainer: {kind: grpo, steps: 1}}}"
    second = "stages.second.rewards={parts: {answer: {}}}"
    recipe = load("monitor-grpo", ["stages.sft=null", "stages.grpo=null", two, second])
    assert [stage.name for stage in recipe.stages] == ["first", "second"]


def test_an_average_over_the_right_ones_needs_to_know_them() -> None:
    parts = ("rewards.parts.answer=null", "rewards.parts.effort={role: add}")
    said = faults("quickstart", *parts, "effort={kind: relative}")
    assert "effort.over: no reward says what is right (answer, countdown); add one, or write over: all" in said
