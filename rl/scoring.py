"""From completions to rewards: decode, find out what rewards need to know, judge, combine. The one reward TRL sees."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn
from transformers import PreTrainedTokenizerBase

from rewards import Label, RewardError, Rubric, Sample, Score
from rewards.monitor import own_label
from rl.data import Message, Task
from rl.effort import AverageLengths, Dial
from rl.judge import Audit, FrozenJudge, Judge, JudgeError
from rl.judge.frozen import Generate
from rl.multiplier import Multiplier
from rl.rollouts import Rollout
from rl.scored import Scored, metrics_of
from rl.tokens import opens_reasoning

REMEDY = "mend it, or let rewards.on_error: none go on without"

logger = logging.getLogger("rhythm")


class ScoringError(RuntimeError):
    """Say that rewards failed on another device, or more of them than the recipe lets pass."""


class Scorer:
    """Score completions with a rubric; keeps the batch it scored last.

    What a reward cannot know by itself is worked out here and handed in on the sample: how long the reasoning is, what
    was asked for and relative to which average (`dial`, `averages`), and what a monitor says of it (`judge`).
    `multiplier` weighs the constraint of a lagrangian rubric and takes its step after every batch. Groups may be spread
    over ranks.
    An error of a reward or a judge ends the run, or with stop_on_error off makes the part None, up to max_errors times
    on all devices together.

    Completions are decoded from their ids with special tokens kept, since TRL's own text drops them and with them any
    tag that a tokenizer holds as special (</think>), which would silence every reward. `end_ids` are tokens that end a
    completion beside the tokenizer's own.
    """

    __name__ = "total"

    def __init__(
        self,
        rubric: Rubric,
        tasks: Sequence[Task],
        tokenizer: PreTrainedTokenizerBase,
        end_ids: Collection[int] = (),
        *,
        group_size: int,
        dial: Dial | None = None,
        averages: AverageLengths | None = None,
        judge: Judge | None = None,
        multiplier: Multiplier | None = None,
        stop_on_error: bool = True,
        max_errors: int = 100,
    ) -> None:
        self.rubric, self.tasks, self.tokenizer = rubric, tasks, tokenizer
        self.end_ids = [*end_ids, tokenizer.eos_token_id, tokenizer.pad_token_id]
        self.group_size, self.dial, self.averages, self.judge = group_size, dial, averages, judge
        self.multiplier = multiplier or Multiplier()
        self.stop_on_error, self.max_errors, self.num_errors = stop_on_error, max_errors, 0
        self.opens_reasoning = opens_reasoning(tokenizer)
        self.rollouts: list[Rollout] = []
        self.advantages: list[float] | None = None
        self._errors: list[RewardError | JudgeError] = []

    def attach(self, model: nn.Module, generate: Generate) -> None:
        """Let a frozen judge copy the policy and write with it."""
        if isinstance(self.judge, FrozenJudge):
            self.judge.attach(model, generate)

    def release(self) -> None:
        """Let a frozen judge's copy of the policy go."""
        if isinstance(self.judge, FrozenJudge):
            self.judge.release()

    def refresh(self, step: int) -> None:
        """Let a frozen judge take the policy's place where that is due, before the rollouts of a step."""
        if isinstance(self.judge, FrozenJudge):
            self.judge.refresh_if_due(step)

    def dress(self, inputs: Sequence[Mapping[str, Any]], occasion: int) -> list[dict[str, Any]]:
        """Return a generation batch's rows with what each is asked for: as `asked`, and in its prompt's words."""
        if self.dial is None:
            return [dict(row) for row in inputs]
        first = PartialState().process_index * len(inputs)
        asked = [self.dial.draw(occasion, i // self.group_size, i) for i in range(first, first + len(inputs))]
        return [
            {**row, "prompt": self.dial.dress(row["prompt"], value), "asked": value}
            for row, value in zip(inputs, asked, strict=True)
        ]

    def __call__(
        self,
        prompts: Sequence[list[Message]],
        completion_ids: Sequence[Sequence[int]],
        task: Sequence[int],
        log_metric: Callable[[str, float], None],
        asked: Sequence[float] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """Return one total per completion; None where it cannot be judged."""
        start = time.monotonic()
        values = asked or [None] * len(prompts)
        samples = [self._sample(*row) for row in zip(completion_ids, task, values, strict=True)]
        parts: list[dict[str, float | None]] = [{} for _ in samples]
        self._add_parts(samples, parts, self.rubric.named("correct"))
        samples = self._with_averages(samples, parts, [self.tasks[index].source for index in task])
        samples = self._with_verdicts(samples, prompts)
        self._add_parts(samples, parts, list(self.rubric.rewards))
        num_errors = self._settle_errors()
        scores = [Score(self.rubric.total(row, self.multiplier.value), row) for row in parts]
        self.rollouts = [
            Rollout("\n".join(message["content"] for message in messages), tuple(ids), sample, score)
            for messages, ids, sample, score in zip(prompts, completion_ids, samples, scores, strict=True)
        ]
        local = [self._scored(rollout, value) for rollout, value in zip(self.rollouts, values, strict=True)]
        everyone: list[Scored] = gather_object(local)
        self._decouple(everyone, len(local))
        for name, value in metrics_of(everyone, self.rubric, self.group_size, self.dial).items():
            log_metric(name, value)
        if not self.stop_on_error:
            log_metric("reward/errors/count", float(num_errors))
        self._step_multiplier(everyone, log_metric)
        log_metric("time/scoring/seconds", time.monotonic() - start)
        return [score.total for score in scores]

    def _sample(self, ids: Sequence[int], task: int, asked: float | None) -> Sample:
        tokenizer, known = self.tokenizer, self.tasks[task]
        kept = list(ids)
        truncated = not kept or kept[-1] not in self.end_ids
        while kept and kept[-1] in self.end_ids:
            kept.pop()
        text = tokenizer.decode(kept, skip_special_tokens=False)
        assert isinstance(text, str)
        sample = Sample(
            question=known.question,
            answer=known.answer,
            completion="<think>" + text if self.opens_reasoning else text,
            truncated=truncated,
            facts=known.facts,
        )
        if self.dial is None or asked is None:
            return sample
        length = self.dial.length(tokenizer, kept)
        if self.dial.kind == "tokens":
            return replace(sample, length=length, target_length=int(asked))
        return replace(sample, length=length, effort=asked)

    def _add_parts(self, samples: Sequence[Sample], parts: Sequence[dict[str, float | None]], names: list[str]) -> None:
        """Add the named parts that are not there yet."""
        for sample, row in zip(samples, parts, strict=True):
            for name in names:
                if name not in row:
                    row[name] = self._part(name, sample)

    def _part(self, name: str, sample: Sample) -> float | None:
        try:
            return self.rubric.part(name, sample)
        except RewardError as error:
            self._errors.append(error)
            return None

    def _settle_errors(self) -> int:
        """Count the errors of this batch on all ranks, and raise on all of them where they may not pass."""
        own, self._errors = self._errors, []
        everyone: list[tuple[int, str]] = gather_object([(len(own), str(own[0]) if own else "")])
        count = sum(number for number, _ in everyone)
        first = next((said for number, said in everyone if number), "")
        self.num_errors += count
        if count:
            logger.info("%d errors of rewards in this batch, the first: %s", count, first)
        if count and self.stop_on_error:
            if not own:
                raise ScoringError(f"on another device: {first}")
            if isinstance(failed := own[0], RewardError):
                raise RewardError(failed.name, f"{failed.reason}; {REMEDY}", failed.sample) from failed.__cause__
            raise failed
        if self.num_errors > self.max_errors:
            raise ScoringError(f"{self.num_errors} errors of rewards are too many, such as: {first}")
        return count

    def _with_averages(
        self, samples: list[Sample], parts: Sequence[Mapping[str, float | None]], queries: Sequence[str]
    ) -> list[Sample]:
        """Hand each sample the average length of its query, over all of its group, wherever it was generated."""
        if self.averages is None or self.dial is None or self.dial.kind != "relative":
            return samples
        local = [
            (query, sample.length or 0, self.rubric.is_correct(row))
            for query, sample, row in zip(queries, samples, parts, strict=True)
        ]
        everyone = gather_object(local)
        found: list[float] = []
        for start in range(0, len(everyone), self.group_size):
            names, lengths, correct = zip(*everyone[start : start + self.group_size], strict=True)
            found += [self.averages.of_group(names[0], lengths, correct)] * len(names)
            self.averages.add(names[0], lengths, correct)
        first = PartialState().process_index * len(samples)
        return [replace(sample, average_length=found[first + index]) for index, sample in enumerate(samples)]

    def _with_verdicts(self, samples: list[Sample], prompts: Sequence[list[Message]]) -> list[Sample]:
        if self.judge is None:
            return samples
        audits = [Audit.of(prompt, sample.completion) for prompt, sample in zip(prompts, samples, strict=True)]
        try:
            verdicts: list[Label | None] = self.judge.verdicts(audits)
        except JudgeError as error:
            self._errors.append(error)
            return samples
        return [replace(sample, verdict=verdict) for sample, verdict in zip(samples, verdicts, strict=True)]

    def _scored(self, rollout: Rollout, asked: float | None) -> Scored:
        sample = rollout.sample
        return Scored(
            parts=rollout.score.parts,
            total=rollout.score.total,
            asked=asked,
            length=sample.length,
            average_length=sample.average_length,
            verdict=sample.verdict,
            own_label=None if self.judge is None else own_label(sample.completion),
            judged=self.judge is not None,
        )

    def _decouple(self, everyone: Sequence[Scored], num_local: int) -> None:
        if self.rubric.combine != "decoupled":
            return
        groups = [everyone[i : i + self.group_size] for i in range(0, len(everyone), self.group_size)]
        found = [value for group in groups for value in self.rubric.decouple([row.parts for row in group])]
        first = PartialState().process_index * num_local
        self.advantages = found[first : first + num_local]

    def _step_multiplier(self, everyone: Sequence[Scored], log_metric: Callable[[str, float], None]) -> None:
        if self.rubric.combine != "lagrangian":
            return
        log_metric("monitor/lambda/last", self.multiplier.value)
        values = [self.rubric.added(row.parts, self.rubric.named("constraint")) for row in everyone]
        judged = [value for value in values if value is not None]
        if judged:
            self.multiplier.update(sum(judged) / len(judged))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON data; the weights of a frozen judge are kept beside it."""
        return {
            "averages": self.averages.state() if self.averages else {},
            "multiplier": self.multiplier.value,
            "errors": self.num_errors,
            "copy_taken_at": self.judge.copy.taken_at if isinstance(self.judge, FrozenJudge) and self.judge.copy else 0,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.multiplier.value, self.num_errors = state["multiplier"], state["errors"]
        if self.averages:
            self.averages.restore(state["averages"])
