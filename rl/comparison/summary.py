"""What arms come to: one number a run and quantity, means over runs with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rl.comparison.arms import Arm
from rl.comparison.runs import Run
from rl.intervals import Interval, mean_of, means_of
from rl.report.curves import running_mean, smoothing
from rl.report.rundata import column, finite

LAST_STEPS = 10
MOST_POINTS = 300  # of a curve: an interval is drawn at each
REWARD, LENGTH, SECONDS = "reward/total/mean", "rollout/length/mean", "time/step/seconds"
LOSS, TURNOVER = "optimizer/loss/mean", "heads/turnover/share"
Read = Callable[[Run, str], str | None]
"""Return the metric that a run recorded of a stage."""


@dataclass(frozen=True)
class Quantity:
    """Name what is drawn and compared: where it is recorded, in which unit, and with how many decimals it is told."""

    title: str
    note: str
    unit: str
    read: Read
    digits: int = 3


def recorded(key: str) -> Read:
    """Return what reads one key."""
    return lambda _, __: key


ACCURACY = Quantity(
    "Accuracy",
    "Mean of the part of the reward that says what is right.",
    "share",
    lambda run, stage: run.correct(stage),
)
QUANTITIES = (
    Quantity("Reward", "The total that is optimised.", "reward", recorded(REWARD)),
    ACCURACY,
    Quantity("Length", "Mean tokens of a completion.", "tokens", recorded(LENGTH), 1),
    Quantity(
        "Turnover of heads", "Share of heads of a kind that only one of two snapshots has.", "share", recorded(TURNOVER)
    ),
)
LEARNING = Quantity("Loss", "The mean loss that the optimizer saw.", "loss", recorded(LOSS))


@dataclass(frozen=True)
class Figures:
    """Hold what an arm comes to in one stage; None where no run recorded it.

    The loss is told where there is no reward: what a policy is trained on with one has a mean of 0.
    """

    arm: str
    runs: int
    steps: tuple[int, int]
    last_reward: Interval | None
    mean_reward: Interval | None
    length: Interval | None
    accuracy: Interval | None
    loss: Interval | None
    seconds: Interval | None


@dataclass(frozen=True)
class Curve:
    """Hold steps, and at each the mean over the runs that have got there, smoothed run by run."""

    steps: Sequence[float]
    means: Sequence[Interval]


def stages_of(arms: Sequence[Arm]) -> list[str]:
    """Return the names of all stages, in the order they are first seen."""
    return list(dict.fromkeys(stage for arm in arms for run in arm.runs for stage in run.stages))


def figures_of(arms: Sequence[Arm], stage: str, seed: int = 0) -> list[Figures]:
    """Return what each arm that has a stage comes to in it, with intervals over its runs."""
    return [_figures(arm, stage, seed) for arm in arms if _runs(arm, stage)]


def curve_of(arm: Arm, stage: str, quantity: Quantity, seed: int = 0) -> Curve | None:
    """Return an arm's curve, smoothed as in a run's report; None where no run recorded the quantity.

    Runs that are still going count up to where they are.
    """
    lines = [line for run in _runs(arm, stage) if (line := _line(run, stage, quantity))]
    steps = sorted({step for line in lines for step in line})
    steps = steps[:: -(-len(steps) // MOST_POINTS)] + steps[-1:] if len(steps) > MOST_POINTS else steps
    there: dict[tuple[int, ...], list[float]] = {}
    for step in dict.fromkeys(steps):
        there.setdefault(tuple(place for place, line in enumerate(lines) if step in line), []).append(step)
    found: dict[float, Interval] = {}
    for places, own in there.items():
        table = [[lines[place][step] for step in own] for place in places]
        found |= dict(zip(own, means_of(table, places, seed), strict=True))
    ordered = sorted(found)
    return Curve(ordered, [found[step] for step in ordered]) if ordered else None


def _runs(arm: Arm, stage: str) -> list[Run]:
    return [run for run in arm.runs if stage in run.stages]


def _line(run: Run, stage: str, quantity: Quantity) -> Mapping[float, float]:
    key, rows = quantity.read(run, stage), run.stages[stage]
    raw = column(rows, key) if key else []
    smooth = running_mean(raw, smoothing(rows))
    pairs = zip(column(rows, "step"), raw, smooth, strict=True) if key else ()
    return {step: mean for step, own, mean in pairs if step is not None and own is not None and mean is not None}


def _figures(arm: Arm, stage: str, seed: int) -> Figures:
    runs = _runs(arm, stage)
    counts = [len(run.stages[stage]) for run in runs]

    def over_runs(read: Read, last: int | None) -> Interval | None:
        means = [mean for run in runs if (mean := mean_of_run(run, stage, read, last)) is not None]
        return mean_of(means, range(len(means)), seed)

    reward = over_runs(recorded(REWARD), LAST_STEPS)
    return Figures(
        arm.name,
        len(runs),
        (min(counts), max(counts)),
        reward,
        over_runs(recorded(REWARD), None),
        over_runs(recorded(LENGTH), LAST_STEPS),
        over_runs(ACCURACY.read, LAST_STEPS),
        over_runs(recorded(LOSS), LAST_STEPS) if reward is None else None,
        over_runs(recorded(SECONDS), None),
    )


def mean_of_run(run: Run, stage: str, read: Read, last: int | None) -> float | None:
    """Return the mean of a run's last steps that recorded a metric, or of all; None where none did."""
    key = read(run, stage)
    seen = [value for row in run.stages.get(stage, []) if (value := finite(row.get(key))) is not None] if key else []
    seen = seen if last is None else seen[-last:]
    return sum(seen) / len(seen) if seen else None
