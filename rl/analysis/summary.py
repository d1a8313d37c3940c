"""From what was measured of each trace to what is said of all: means with intervals, by outcome and by layer."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rl.analysis.echo import Measured
from rl.analysis.regression import Effect, logistic
from rl.intervals import Interval, difference_of, mean_of

FIGURES: dict[str, tuple[str, Callable[[Measured], float | None]]] = {
    "gap": ("likelihood gap, nats a token", lambda one: one.gap),
    "suffix_gap": ("suffix gap, nats a token", lambda one: one.suffix_gap),
    "log_prob": ("log-prob, nats a token", lambda one: one.log_prob),
    "echo": ("length of the echo, tokens", lambda one: one.num_echo_tokens),
    "length": ("length, tokens", lambda one: one.num_tokens),
}
SPANS = ("opening", "question")


@dataclass(frozen=True)
class Figure:
    """Hold a quantity's mean over the traces with an echo: all, right ones, wrong ones, and right less wrong."""

    every: Interval | None
    right: Interval | None
    wrong: Interval | None
    difference: Interval | None


@dataclass(frozen=True)
class LayerMass:
    """Hold at one layer the attention to a span: behind an echo, behind neutral words as long, and the difference."""

    echo: Interval
    control: Interval
    difference: Interval


@dataclass(frozen=True)
class Summary:
    """Hold all that is said of a file of traces. Intervals are 95 %, over questions."""

    traces: int
    with_echo: int
    right: int
    wrong: int
    figures: dict[str, Figure]
    regression: dict[str, Effect] | str
    attention: dict[str, dict[int, LayerMass]]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def summarize(found: Sequence[Measured], seed: int = 0) -> Summary:
    """Return what is said of traces; what needs an echo is said of those that have one."""
    echoes = [one for one in found if one.num_echo_tokens]
    verdicts = [one.correct for one in found]
    return Summary(
        len(found),
        len(echoes),
        verdicts.count(True),
        verdicts.count(False),
        {name: _figure(echoes, read, seed) for name, (_, read) in FIGURES.items()},
        _regression(echoes),
        {span: _by_layer(echoes, place, seed) for place, span in enumerate(SPANS)},
    )


def _figure(echoes: Sequence[Measured], read: Callable[[Measured], float | None], seed: int) -> Figure:
    def column(outcome: bool | None) -> tuple[list[float], list[str]]:
        own = [one for one in echoes if outcome is None or one.correct is outcome]
        pairs = [(value, one.question) for one in own if (value := read(one)) is not None]
        return [value for value, _ in pairs], [question for _, question in pairs]

    every, right, wrong = (column(outcome) for outcome in (None, True, False))
    return Figure(
        mean_of(*every, seed), mean_of(*right, seed), mean_of(*wrong, seed), difference_of(*right, *wrong, seed)
    )


def _regression(echoes: Sequence[Measured]) -> dict[str, Effect] | str:
    own = [one for one in echoes if one.correct is not None and one.gap is not None]
    predictors = {"gap": [one.gap or 0.0 for one in own], "echo": [float(one.num_echo_tokens) for one in own]}
    return logistic([bool(one.correct) for one in own], predictors, [one.question for one in own])


def _by_layer(echoes: Sequence[Measured], place: int, seed: int) -> dict[int, LayerMass]:
    own = [(one.attention, one.control, one.question) for one in echoes if one.attention and one.control]
    questions = [question for *_, question in own]
    layers = sorted(own[0][0]) if own else []
    found = {}
    for layer in layers:
        echo = [attention[layer][place] for attention, _, _ in own]
        control = [mass[layer][place] for _, mass, _ in own]
        differences = [one - other for one, other in zip(echo, control, strict=True)]
        means = [mean_of(values, questions, seed) for values in (echo, control, differences)]
        found[layer] = LayerMass(*(mean for mean in means if mean is not None))
    return found
