"""The words every reward shares: Sample, Score, Reward, Role."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Role = Literal["add", "correct", "gate", "bonus", "constraint"]
Label = Literal["safe", "unsafe"]
LARGEST = 1e9
SHOWN_CHARACTERS = 600  # of a completion, in an error about it


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold all that a reward may see of one rollout.

    `answer` is the task's gold answer, `facts` what else is known of the task; `completion` is the model's text without
    its end-of-turn token, and hostile: parse it, never evaluate it. `truncated` says that it hit the length limit.
    What needs memory or a model is worked out outside and stands here, None where there is no such thing in this run:
    the length in tokens that counts as effort (of the reasoning, or of the whole completion), the effort asked for and
    the query's average length that it is relative to, the length asked for, and the monitor's verdict.
    """

    question: str
    answer: str
    completion: str
    truncated: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    length: int | None = None
    effort: float | None = None
    average_length: float | None = None
    target_length: int | None = None
    verdict: Label | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Hold a sample's total reward and its unweighted parts; None means "cannot judge" and is not zero."""

    total: float | None
    parts: Mapping[str, float | None]


@runtime_checkable
class Reward(Protocol):
    """Judge one sample. Stateless; None where the reward cannot judge.

    A class may say what part it plays in a combination (`role`, by default add) and what the run must provide on the
    sample (`needs`: effort, tokens, monitor).
    """

    def __call__(self, sample: Sample) -> float | None: ...


class RewardError(RuntimeError):
    """Say which reward failed on which sample; the cause is the reward's own error."""

    def __init__(self, name: str, reason: str, sample: Sample) -> None:
        shown = sample.completion[:SHOWN_CHARACTERS]
        if len(sample.completion) > SHOWN_CHARACTERS:
            shown += f"... ({len(sample.completion)} characters)"
        super().__init__(
            f"reward {name!r} failed: {reason}; the sample: question {sample.question[:SHOWN_CHARACTERS]!r}, "
            f"gold answer {sample.answer[:SHOWN_CHARACTERS]!r}, completion {shown!r}"
        )
        self.name, self.reason, self.sample = name, reason, sample


def _number(value: Any) -> float:
    """Return a value as a number; NaN where it is none."""
    try:
        return float("nan") if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def apply(name: str, reward: Reward, sample: Sample) -> float | None:
    """Return what a reward gives a sample. Raises RewardError where it raises, or gives no finite number."""
    try:
        value = reward(sample)
        number = None if value is None else _number(value)
        odd = None if number is None or abs(number) <= LARGEST else repr(value)[:SHOWN_CHARACTERS]
    except (Exception, SystemExit) as error:
        raise RewardError(name, said(error), sample) from error
    if odd is not None:
        raise RewardError(name, f"gave {odd}, which is no number to train on", sample)
    return number


def said(error: BaseException) -> str:
    """Return an error as one line, even one that cannot say what it is."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - it is somebody's own class
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
