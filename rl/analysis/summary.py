"""From what was measured of each trace to what is said of all: means with intervals, by outcome and by layer."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rl.analysis.echo import Found, Measured
from rl.analysis.regression import Effect, logistic
from rl.intervals import Interval, difference_of, mean_of, means_of

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
    too_long: int
    with_echo: int
    right: int
    wrong: int
    figures: dict[str, Figure]
    regression: dict[str, Effect] | str
    attention: dict[str, dict[int, LayerMass]]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def summarize(found: Found, seed: int = 0) -> Summary:
    """Return what is said of traces; what needs an echo is said of those that have one."""
    echoes = [one for one in found.measured if one.num_echo_tokens]
    verdicts = [one.correct for one in found.measured]
    return Summary(
        len(found.measured),
        found.too_long,
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
    gaps, lengths = [one.gap or 0.0 for one in own], [float(one.num_echo_tokens) for one in own]
    predictors = {"likelihood gap": gaps, "length of the echo": lengths}
    return logistic([bool(one.correct) for one in own], predictors, [one.question for one in own])


def _by_layer(echoes: Sequence[Measured], place: int, seed: int) -> dict[int, LayerMass]:
    own = [(one.attention, one.control, one.question) for one in echoes if one.attention and one.control]
    layers = sorted(own[0][0]) if own else []
    rows = [
        [value for layer in layers for value in (echo[layer][place], control[layer][place])] for echo, control, _ in own
    ]
    table = [[*row, *(row[at] - row[at + 1] for at in range(0, len(row), 2))] for row in rows]
    found = means_of(table, [question for *_, question in own], seed) if layers else []
    return {
        layer: LayerMass(found[2 * at], found[2 * at + 1], found[2 * len(layers) + at])
        for at, layer in enumerate(layers)
    }
