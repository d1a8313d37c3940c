"""From completions to totals: what rewards are told, None and errors, groups, and the metrics."""

from collections.abc import Sequence
from typing import Any

import pytest

from rewards import Label, Rubric, Sample
from rewards.answer import Answer
from rewards.effort import Effort
from rewards.format import Format
from rewards.monitor import Monitor
from rl import tiny
from rl.data import Task
from rl.effort import AverageLengths, Dial
from rl.judge import Audit, JudgeError
from rl.multiplier import Multiplier
from rl.scoring import Scorer, ScoringError

TOKENIZER = tiny.build_tokenizer()
TASKS = [Task(f"t[{i}]", f"{i} + 1", str(i + 1), facts={"number": i}) for i in range(4)]
DIAL = Dial(kind="relative", low=0.2, high=1.5, wording=" {effort}", values=[0.4, 1.2])


def ids(text: str, ended: bool = True) -> list[int]:
    return [*TOKENIZER(text)["input_ids"], *([TOKENIZER.eos_token_id] if ended else [])]


def answer(value: int, think: str = "so") -> list[int]:
    return ids(f"<think>{think}</think><answer>{value}</answer>")


def scorer(rubric: Rubric, **options: Any) -> Scorer:
    return Scorer(rubric, TASKS, TOKENIZER, **{"group_size": 2, **options})


def score(made: Scorer, rows: Sequence[tuple[int, list[int]]], asked: Any = None) -> tuple[list, dict[str, float]]:
    """Score (task, completion) rows; return totals and metrics."""
    logged: dict[str, float] = {}
    totals = made(
        prompts=[[{"role": "user", "content": TASKS[task].question}] for task, _ in rows],
        completion_ids=[completion for _, completion in rows],
        task=[task for task, _ in rows],
        asked=asked,
        log_metric=logged.__setitem__,
    )
    assert logged.pop("time/scoring/seconds") >= 0
    return totals, logged


ANSWER = Rubric({"answer": Answer(), "format": Format()}, {"answer": 1.0, "format": 0.5})


class Raises:
    def __call__(self, sample: Sample) -> float:
        raise RuntimeError("out of order")


class Fact:
    def __call__(self, sample: Sample) -> float:
        return float(sample.facts["number"])


class Fixed:
    """A judge that finds reasoning with the word `lie` in it unsafe, and cannot read `mumble`."""

    def __init__(self) -> None:
        self.audits: list[Audit] = []

    def verdicts(self, audits: Sequence[Audit]) -> list[Label | None]:
        self.audits += audits
        if any("broken" in audit.reasoning for audit in audits):
            raise JudgeError("the judge is away")
        return [_verdict(audit.reasoning) for audit in audits]


def _verdict(reasoning: str) -> Label | None:
    return None if "mumble" in reasoning else "unsafe" if "lie" in reasoning else "safe"


def test_totals_parts_and_metrics() -> None:
    made = scorer(ANSWER)
    rows = [(0, answer(1)), (0, ids("<answer>1</answer>")), (1, answer(9)), (1, answer(9))]
    totals, logged = score(made, rows)
    assert totals == [1.0, 0.5, 0.0, 0.0]
    assert logged == {
        "reward/answer/mean": 0.5,
        "reward/answer/unjudged": 0.0,
        "reward/format/mean": -0.25,
        "reward/unjudged/share": 0.0,
        "reward/zero_groups/share": 0.5,
    }
    assert made.rollouts[1].score.parts == {"answer": 1.0, "format": -1.0}
    assert made.rollouts[0].sample.facts == {"number": 0}


def test_truncation_and_end_tokens() -> None:
    made = scorer(ANSWER)
    score(made, [(0, answer(1)), (0, ids("<think>so</think><answer>1</answer>", ended=False)), (0, []), (0, answer(1))])
    assert [rollout.sample.truncated for rollout in made.rollouts] == [False, True, True, False]
    assert made.rollouts[2].sample.completion == ""


def test_what_cannot_be_judged_is_none_and_not_zero() -> None:
    made = Scorer(ANSWER, [Task("t", "q", "")], TOKENIZER, group_size=2)
    totals, logged = score(made, [(0, answer(1)), (0, answer(2))])
    assert totals == [None, None]
    assert logged["reward/unjudged/share"] == logged["reward/answer/unjudged"] == 1.0
    assert "reward/answer/mean" not in logged and logged["reward/zero_groups/share"] == 0.0


def test_a_template_that_opens_the_reasoning() -> None:
    tokenizer = tiny.build_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\\n' }}{% endif", "assistant\\n<think>\\n' }}{% endif"
    )
    made = Scorer(ANSWER, TASKS, tokenizer, group_size=1)
    totals, _ = score(made, [(0, ids("so</think><answer>1</answer>"))])
    assert totals == [1.0] and made.rollouts[0].sample.completion.startswith("<think>so")


def test_batch_order_and_companions_change_nothing() -> None:
    rows = [(0, answer(1)), (0, ids("x")), (1, answer(2, "well " * 20)), (1, answer(3))]
    totals, _ = score(scorer(ANSWER), rows)
    swapped, _ = score(scorer(ANSWER), [rows[i] for i in (3, 2, 1, 0)])
    alone = [score(scorer(ANSWER, group_size=1), [row])[0][0] for row in rows]
    assert swapped == totals[::-1] and alone == totals
    padded, _ = score(scorer(ANSWER), [(task, row + [TOKENIZER.pad_token_id] * 9) for task, row in rows])
    assert padded == totals


def test_an_error_stops_by_default_and_names_reward_and_sample() -> None:
    made = scorer(Rubric({"answer": Answer(), "mine": Raises()}, {"answer": 1.0, "mine": 1.0}))
    with pytest.raises(RuntimeError, match=r"reward 'mine' failed: RuntimeError: out of order; .*'0 \+ 1'.*<answer>1"):
        score(made, [(0, answer(1)), (0, answer(2))])


def test_errors_can_be_counted_up_to_a_ceiling() -> None:
    rubric = Rubric({"answer": Answer(), "mine": Raises()}, {"answer": 1.0, "mine": 1.0})
    made = scorer(rubric, stop_on_error=False, max_errors=5)
    totals, logged = score(made, [(0, answer(1)), (0, answer(2))])
    assert totals == [1.0, 0.0]
    assert logged["reward/errors/count"] == 2 and logged["reward/mine/unjudged"] == 1.0
    again = scorer(rubric, stop_on_error=False, max_errors=5)
    again.restore(made.state())
    score(again, [(0, answer(1)), (0, answer(2))])
    with pytest.raises(ScoringError, match="6 errors of rewards are too many, such as: reward 'mine' failed"):
        score(again, [(0, answer(1)), (0, answer(2))])


def test_the_gate_is_relative_to_the_querys_average() -> None:
    """Reasoning of 5 and 25 tokens, both right: the average is 15, so 1.2 lets the short one through, later as well."""
    rubric = Rubric({"answer": Answer(), "effort": Effort()}, {"answer": 1.0, "effort": 1.0}, "gate")
    made = scorer(rubric, dial=DIAL, averages=AverageLengths(decay=0.5))
    short, long = answer(1), answer(1, "so " * 10)
    totals, logged = score(made, [(0, short), (0, long)], asked=[1.2, 1.2])
    lengths = [rollout.sample.length for rollout in made.rollouts]
    mean = sum(lengths) / 2
    assert lengths[0] == len(TOKENIZER("<think>so</think>")["input_ids"]) and lengths[0] < 1.2 * mean < lengths[1]
    assert totals == [1.0, 0.0]
    assert [rollout.sample.average_length for rollout in made.rollouts] == [mean, mean]
    assert logged["effort/length@1.2/mean"] == logged["effort/length/mean"] == mean
    assert logged["effort/ratio@1.2/mean"] == pytest.approx(1.0)
    assert logged["effort/correct@1.2/mean"] == 1.0 and logged["effort/reward@1.2/mean"] == 0.5
    assert made.state()["averages"] == {"t[0]": mean}
    score(made, [(0, short), (0, short)], asked=[0.4, 0.4])
    assert made.rollouts[0].sample.average_length == mean
    assert made.state()["averages"]["t[0]"] == pytest.approx((mean + lengths[0]) / 2)


def test_tokens_asked_for_are_a_target() -> None:
    from rewards.effort import LengthTarget

    dial = Dial(kind="tokens", low=1, high=50, wording=" {tokens}", of="completion")
    rubric = Rubric({"answer": Answer(), "length": LengthTarget()}, {"answer": 1.0, "length": 0.01})
    made = scorer(rubric, dial=dial)
    completion = answer(1)
    totals, logged = score(made, [(0, completion), (0, completion)], asked=[10, 20])
    used = len(completion) - 1
    assert totals == pytest.approx([1 - 0.01 * abs(used - 10), 1 - 0.01 * abs(used - 20)])
    assert logged["effort/error/mean"] == pytest.approx((abs(used - 10) + abs(used - 20)) / 2)


def test_prompts_are_dressed_by_group_or_by_rollout() -> None:
    rows = [{"prompt": [{"role": "user", "content": "q"}], "task": i // 2} for i in range(8)]
    plain = scorer(ANSWER)
    assert plain.dress(rows, 3) == rows
    made = scorer(ANSWER, dial=Dial(kind="relative", low=0.2, high=1.5, wording=" {effort}"))
    dressed = made.dress(rows, 3)
    assert [row["asked"] for row in dressed[::2]] == [row["asked"] for row in dressed[1::2]]
    assert all(row["prompt"][0]["content"] == f"q {row['asked']:g}" for row in dressed)
    assert dressed == made.dress(rows, 3) and dressed != made.dress(rows, 4)
    own = scorer(ANSWER, dial=Dial(kind="relative", low=0.2, high=1.5, wording=" {effort}", per_rollout=True))
    assert len({row["asked"] for row in own.dress(rows, 3)}) > 4


def monitored(**options: Any) -> Scorer:
    rubric = Rubric({"answer": Answer(), "monitor": Monitor()}, {"answer": 1.0, "monitor": 1.0}, "lagrangian")
    return scorer(rubric, judge=Fixed(), **options)


def test_the_constraint_weighs_lambda_which_takes_a_step_after_every_batch() -> None:
    """Half of the rollouts that have a verdict violate: J = -1/2, so lambda grows by half its learning rate."""
    made = monitored(multiplier=Multiplier(2.0, 0.1))
    own = "<think>{}</think><monitor>m</monitor><label>{}</label><answer>1</answer>"
    labels = (("a lie", "safe"), ("fair", "safe"), ("mumble", "unsafe"), ("a lie", "unsafe"))
    rows = [(0, ids(own.format(*label))) for label in labels]
    totals, logged = score(made, rows)
    assert totals == [1 - 2.0, 1.0, None, 1 - 2.0]
    assert logged["monitor/lambda/last"] == 2.0
    assert made.multiplier.value == pytest.approx(2.0 + 0.1 * 2 / 3)
    assert logged["monitor/violation/share"] == pytest.approx(2 / 3)
    assert logged["monitor/unparsed/share"] == 0.25 and logged["monitor/own_unparsed/share"] == 0.0
    assert logged["monitor/agreement/share"] == pytest.approx(2 / 3)
    assert logged["monitor/own_violation/share"] == 0.5
    again = monitored()
    again.restore(made.state())
    assert again.multiplier.value == made.multiplier.value


def test_lambda_never_falls_below_zero() -> None:
    multiplier = Multiplier(0.1, 1.0)
    multiplier.update(0.5)
    assert multiplier.value == 0.0
    multiplier.update(-0.25)
    assert multiplier.value == 0.25


def test_a_judge_that_fails_stops_or_is_counted() -> None:
    rows = [(0, answer(1, "broken")), (0, answer(1, "fair"))]
    with pytest.raises(JudgeError, match="away"):
        score(monitored(), rows)
    totals, logged = score(monitored(stop_on_error=False), rows)
    assert totals == [None, None] and logged["monitor/unparsed/share"] == 1.0


def test_decoupled_advantages_are_of_each_group() -> None:
    rubric = Rubric({"answer": Answer(), "fact": Fact()}, {"answer": 2.0, "fact": 1.0}, "decoupled")
    made = scorer(rubric)
    totals, _ = score(made, [(0, answer(1)), (0, answer(9)), (1, answer(9)), (1, answer(9))])
    z = 2 * 0.5 / (0.5 * 2**0.5)
    assert made.advantages == pytest.approx([z, -z, 0.0, 0.0])
    assert totals == [2.0, 0.0, 1.0, 1.0]
