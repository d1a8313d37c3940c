"""One evaluation: its arms answer the same tasks under the same decoding, and are compared with the first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

from rl.evaluation.answers import Answer
from rl.evaluation.arms import Arm
from rl.evaluation.deceived import Judged, difference_in, judge_answers
from rl.evaluation.deception import Deception
from rl.evaluation.decoding import Decoding, check_engine, writer_of
from rl.evaluation.differences import differences
from rl.evaluation.evaluate import (
    EvaluationError,
    Suite,
    answers_in,
    check_settings,
    evaluate,
    take_up,
    write_results,
)
from rl.evaluation.judging import Judge, judge_of
from rl.evaluation.results import Results
from rl.evaluation.suite import own_settings, shared_settings
from rl.evaluation.trend import Trend, trends_of
from rl.generate import ask
from rl.intervals import Interval
from rl.policy import digest_of
from rl.recipe.suites import SuiteRecipe

Begin = Callable[[str, int, int], None]
Heard = Callable[[int], None]


@dataclass(frozen=True)
class Found:
    """Hold what an arm came to, where it lies, and how it differs from the first, on the same tasks."""

    arm: Arm
    folder: Path
    settings: Mapping[str, Any]
    results: Results
    deception: Deception | None = None
    differences: Mapping[str, Interval | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Hold an evaluation: its suite, what its arms share, who judged, what each arm came to, and what rises in them."""

    suite: str
    shared: Mapping[str, Any]
    judge: str | None
    arms: Sequence[Found]
    trends: Mapping[str, Sequence[Trend]]


class Round:
    """Hold the arms of an evaluation and what they share, which is one object: the tasks, the decoding, the settings.

    One arm writes into the folder itself, several each into a folder of its own below it.
    """

    def __init__(
        self, arms: Sequence[Arm], recipe: SuiteRecipe, suite: Suite, decoding: Decoding, folder: Path
    ) -> None:
        self.arms, self.recipe, self.suite, self.decoding, self.folder = arms, recipe, suite, decoding, folder
        self.shared = shared_settings(recipe, suite, decoding)
        weights = {name: digest_of(Path(name)) for name in dict.fromkeys(arm.policy.name for arm in arms)}
        self.owns = {arm.name: own_settings(arm.policy, weights[arm.policy.name], arm.again) for arm in arms}
        self.places = {arm.name: folder if len(arms) == 1 else folder / arm.name for arm in arms}

    def run(self, begin: Begin, heard: Heard) -> Evaluation:
        """Let every arm answer, have the answers judged, compare, and write results.json.

        Raises EvaluationError, before anything is written where an arm was begun with other settings or cannot be
        asked, and what evaluate raises.
        """
        self._check()
        judge = judge_of(self.recipe.judge) if self.recipe.judge else None
        if len(self.arms) > 1:
            take_up(self.folder, self.shared)
        results = self._answer(begin, heard)
        judged = self._judge(judge, begin, heard) if judge else {}
        answers = {arm.name: answers_in(self.places[arm.name], self.suite) for arm in self.arms}
        found = [self._found(arm, results[arm.name], answers, judged) for arm in self.arms]
        name = judge.name if judge else None
        told = Evaluation(self.recipe.name, self.shared, name, found, trends_of(self.arms, answers))
        try:
            self._write(told)
        except OSError as error:
            raise EvaluationError(f"{error.filename or self.folder}: {error.strerror}") from None
        return told

    def _check(self) -> None:
        if len(self.arms) > 1:
            check_settings(self.folder, self.shared)
        for arm in self.arms:
            check_settings(self.places[arm.name], self._settings(arm))
            check_engine(arm.policy, self.decoding)
            for task in self.suite.tasks:
                ask(arm.policy, task, self.decoding.max_tokens, arm.again)

    def _settings(self, arm: Arm) -> dict[str, Any]:
        return {**self.owns[arm.name], **self.shared}

    def _begin(self, arm: Arm, begin: Begin) -> Begin:
        if len(self.arms) == 1:
            return begin
        return lambda what, total, done: begin(f"{what}, {arm.name}", total, done)

    def _answer(self, begin: Begin, heard: Heard) -> dict[str, Results]:
        results = {}
        for _, own in groupby(self.arms, key=lambda arm: arm.policy.name):
            writer = None
            for arm in own:
                writer = writer or cache(partial(writer_of, arm.policy, self.decoding))  # loads weights once, if ever
                options = (self.decoding, self.places[arm.name], self._settings(arm))
                told = evaluate(arm.policy, self.suite, *options, self._begin(arm, begin), heard, arm.again, writer)
                results[arm.name] = told
        return results

    def _judge(self, judge: Judge, begin: Begin, heard: Heard) -> dict[str, Judged]:
        data, seed = self.recipe.data, self.decoding.seed
        return {
            arm.name: judge_answers(
                judge, data, self.suite, self.places[arm.name], seed, self._begin(arm, begin), heard
            )
            for arm in self.arms
        }

    def _found(
        self, arm: Arm, results: Results, answers: Mapping[str, Sequence[Answer]], judged: Mapping[str, Judged]
    ) -> Found:
        first, seed = self.arms[0].name, self.decoding.seed
        own = judged[arm.name].deception if judged else None
        less: dict[str, Interval | None] = {}
        if arm.name != first:
            less = differences(answers[arm.name], answers[first], seed)
            less |= {"deceived": difference_in(judged[arm.name], judged[first], seed)} if judged else {}
        return Found(arm, self.places[arm.name], self.owns[arm.name], results, own, less)

    def _write(self, told: Evaluation) -> None:
        judge = {"judge": told.judge} if told.judge else {}
        for one in told.arms:
            own = {"results": asdict(one.results)} | ({"deception": asdict(one.deception)} if one.deception else {})
            write_results(one.folder, {**self._settings(one.arm), **judge, **own})
        if len(told.arms) == 1:
            return
        arms = {
            one.arm.name: {
                "settings": one.settings,
                "results": asdict(one.results),
                "deception": asdict(one.deception) if one.deception else None,
                "differences": {key: value and asdict(value) for key, value in one.differences.items()},
            }
            for one in told.arms
        }
        trends = {name: [asdict(one) for one in own] for name, own in told.trends.items()}
        write_results(self.folder, {**told.shared, **judge, "arms": arms, "trends": trends})
