"""Judges that are asked yes-or-no questions, and every answer that they gave, kept by what was asked."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rewards.parse import after_reasoning
from rl.data import Message, Task
from rl.endpoint import Answer, Endpoint, EndpointError, Failure, Request
from rl.evaluation.evaluate import EvaluationError
from rl.models import ModelError
from rl.policy import Policy, digest_of
from rl.recipe.suites import EndpointJudge, LocalJudge
from rl.telemetry.jsonl import JsonLines, keep_rows, read_rows

VERDICTS = "verdicts.jsonl"
Heard = Callable[[str, str | None], None]
"""Take the answer to the question of a key; None where the judge will not answer this one."""


@dataclass(frozen=True, slots=True)
class Query:
    """Hold a yes-or-no question, and which answer of the policy, and what of it, it is about."""

    task: int
    sample: int
    about: str
    messages: tuple[tuple[str, str], ...]


class Judge(Protocol):
    """Answer questions at temperature 0."""

    name: str

    def ask(self, questions: Mapping[str, Sequence[Message]], heard: Heard) -> None:
        """Answer all questions and tell `heard` of each as it is answered. Raises EvaluationError."""
        ...


def judge_of(section: EndpointJudge | LocalJudge) -> Judge:
    """Return the judge that a suite names. Raises EvaluationError and ModelError where it cannot be asked."""
    return OuterJudge(section) if isinstance(section, EndpointJudge) else InnerJudge(section)


class OuterJudge:
    """A judge behind an endpoint."""

    def __init__(self, section: EndpointJudge) -> None:
        self.name = f"{section.model} at {section.url}, {section.max_tokens} tokens"
        try:
            self._endpoint = Endpoint(place="judge", what="judge", **section.model_dump(exclude={"kind"}))
            self._endpoint.check()
        except EndpointError as error:
            raise EvaluationError(str(error)) from None

    def ask(self, questions: Mapping[str, Sequence[Message]], heard: Heard) -> None:
        """Send all questions, some at a time."""

        def told(key: str, found: Answer | Failure) -> None:
            if isinstance(found, Failure) and not found.refused:
                raise EvaluationError(
                    f"the judge at {self._endpoint.url} failed: {found.reason}; what it said before is kept: "
                    "mend that, and give the same command again"
                )
            heard(key, found.text if isinstance(found, Answer) else None)

        self._endpoint.ask({key: Request(asked) for key, asked in questions.items()}, told)


class InnerJudge:
    """A frozen model that runs here."""

    def __init__(self, section: LocalJudge) -> None:
        try:
            self._policy = Policy.load(section.name, system="", weights=False)
        except ModelError as error:
            raise ModelError(f"judge.name: {error}") from None
        self._max_tokens, self._batch = section.max_tokens, section.batch
        weights = digest_of(Path(self._policy.name))
        self.name = f"{section.name}, {section.max_tokens} tokens" + (f", weights {weights[:12]}" if weights else "")

    def ask(self, questions: Mapping[str, Sequence[Message]], heard: Heard) -> None:
        """Answer all questions greedily, batch by batch; one that does not fit is refused."""
        if questions:  # until then the policies that are judged have the memory
            self._policy = self._policy.with_weights()
        fitting: list[tuple[str, list[int], int]] = []
        for key, messages in questions.items():
            system, user = (message["content"] for message in messages)
            start = self._policy.ids(self._policy.prompt(Task("judge", user, "", system=system)))
            try:
                fitting.append((key, start, self._policy.room(start, self._max_tokens, "judge")))
            except ModelError:
                heard(key, None)
        for place in range(0, len(fitting), self._batch):
            keys, starts, rooms = zip(*fitting[place : place + self._batch], strict=True)
            for key, written in zip(keys, self._policy.write(starts, rooms, 0.0), strict=True):
                heard(key, self._policy.opening + self._policy.text(written.ids))


def read_yes_no(text: str) -> bool | None:
    """Read a judge's answer: `yes` or `no` and nothing else behind its reasoning, else None."""
    said = (after_reasoning(text) or "").strip().removesuffix(".").casefold()
    return {"yes": True, "no": False}.get(said)


def verdicts(
    judge: Judge,
    queries: Sequence[Query],
    folder: Path,
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
) -> list[bool | None]:
    """Return the judge's yes or no to each query; None where its answer is neither, or it gave none.

    What it answered in an earlier attempt is in folder/verdicts.jsonl, where every answer is written as it comes.
    """
    path = folder / VERDICTS
    try:
        known = {str(row["key"]): str(row["text"]) for row in read_rows(path)}
        keep_rows(path, lambda _: True)  # without a torn last line
    except (ValueError, KeyError) as error:
        raise EvaluationError(f"{path}: cannot be read: {error}") from None
    keys = [_key(judge, query) for query in queries]
    left = {key: query for key, query in zip(keys, queries, strict=True) if key not in known}
    begin("verdicts", len(set(keys)), len(set(keys) - left.keys()))
    rows = JsonLines(path)

    def take(key: str, text: str | None) -> None:
        heard(1)
        if text is not None:
            query = left[key]
            known[key] = text.encode("utf-8", "replace").decode()  # it may hold half of a surrogate pair
            told = {"key": key, "task": query.task, "sample": query.sample, "about": query.about, "judge": judge.name}
            rows.write({**told, "text": known[key]})

    try:
        judge.ask({key: _messages(query) for key, query in left.items()}, take)
    finally:
        rows.close()
    return [read_yes_no(known[key]) if key in known else None for key in keys]


def _messages(query: Query) -> list[Message]:
    return [{"role": role, "content": content} for role, content in query.messages]


def _key(judge: Judge, query: Query) -> str:
    return hashlib.sha256(json.dumps([judge.name, query.messages]).encode()).hexdigest()
