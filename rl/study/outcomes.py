"""What the arms of a study come to, and what each has over its controls, seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rl.comparison.arms import Arm, flat
from rl.comparison.runs import Run, read_runs
from rl.comparison.summary import ACCURACY, LENGTH, Read, mean_of_run, recorded
from rl.intervals import Interval
from rl.recipe import dump
from rl.significance import Paired, holm, paired, seeds_needed, t_interval
from rl.study.plan import Plan
from rl.telemetry.jsonl import read_rows
from rl.telemetry.record import ended, is_over

ENTROPY, WEIGHT, SELECTED = "policy/entropy/mean", "credit/weight/mean", "credit/selected/share"


@dataclass(frozen=True)
class Outcome:
    """Hold what an arm comes to in a metric: means over seeds, with t intervals, of its last steps and of all."""

    final: Interval | None
    mean: Interval | None


@dataclass(frozen=True)
class ArmOutcome:
    """Hold an arm's outcomes by metric, and means over seeds of what else is told of it."""

    arm: str
    seeds: Sequence[int]
    outcomes: Mapping[str, Outcome]
    accuracy: Interval | None
    length: Interval | None
    entropy: Interval | None
    weight: Interval | None
    selected: Interval | None


@dataclass(frozen=True)
class Test:
    """Hold what an arm has over a control in a metric, over the last steps or over all.

    `corrected` is over all pairs of arm and control in this mean. `needed` are the seeds that would see the difference
    that matters, `notable`; None where s says nothing, or more than 10,000 are needed.
    """

    metric: str
    final: bool
    arm: str
    control: str
    paired: Paired
    corrected: float | None
    notable: float
    needed: int | None


@dataclass(frozen=True)
class Outcomes:
    """Hold what a study has come to so far: arms with their runs, their means, the tests, and what is missing.

    `alarmed` are runs that an alarm stopped, and that count with the steps that they have of the stage; `silent` those
    that it stopped before they had one, and that are in no mean.
    """

    arms: Sequence[Arm]
    means: Sequence[ArmOutcome]
    tests: Sequence[Test]
    missing: Sequence[str]
    alarmed: Sequence[str]
    silent: Sequence[str]


def outcomes_of(plan: Plan) -> Outcomes | None:
    """Return what the runs of a study that are over come to; None where none is. Raises ComparisonError."""
    over = [run for run in plan.runs if (run.path / "recipe.json").is_file() and is_over(run.path)]
    stopped = [run for run in over if ended(run.path) == "alarmed"]
    stages = {run.path: [row.get("stage") for row in read_rows(run.path / "metrics.jsonl")] for run in stopped}
    done = {(run.arm, run.seed): read_runs([run.path])[0] for run in over if stages.get(run.path) != []}
    if not done:
        return None
    names = [name for name in plan.study.arms if any(arm == name for arm, _ in done)]
    by_arm = {name: {seed: done[name, seed] for seed in plan.study.seeds if (name, seed) in done} for name in names}
    recipes = {run.arm: run.recipe for run in reversed(plan.runs)}
    arms = [Arm(name, list(by_arm[name].values()), flat(dump(recipes[name]))) for name in names]
    missing = [run.path.name for run in plan.runs if run not in over]
    means = [_outcome(name, by_arm[name], plan) for name in names]
    silent = [run.path.name for run in stopped if plan.stage not in stages[run.path]]
    alarmed = [run.path.name for run in stopped if run.path.name not in silent]
    return Outcomes(arms, means, _tests(by_arm, plan), missing, alarmed, silent)


def _outcome(name: str, runs: Mapping[int, Run], plan: Plan) -> ArmOutcome:
    def over_seeds(read: Read, last: int | None) -> Interval | None:
        return t_interval(list(_values(runs, plan, read, last).values()))

    last = plan.study.last
    return ArmOutcome(
        name,
        list(runs),
        {
            metric: Outcome(over_seeds(recorded(metric), last), over_seeds(recorded(metric), None))
            for metric in plan.study.outcomes
        },
        over_seeds(ACCURACY.read, last),
        over_seeds(recorded(LENGTH), last),
        over_seeds(recorded(ENTROPY), last),
        over_seeds(recorded(WEIGHT), None),
        over_seeds(recorded(SELECTED), None),
    )


def _tests(by_arm: Mapping[str, Mapping[int, Run]], plan: Plan) -> list[Test]:
    """Test every arm against every control, metric by metric: p values are corrected over all tests of one mean."""
    pairs = [
        (arm, control)
        for control in plan.study.against
        for arm in by_arm
        if control in by_arm and arm not in plan.study.against
    ]
    controls = [name for name in plan.study.against if name in by_arm]
    pairs += [(arm, control) for place, control in enumerate(controls) for arm in controls[place + 1 :]]
    return [
        test
        for metric, notable in plan.study.outcomes.items()
        for last in (plan.study.last, None)
        for test in _tests_of(metric, notable, last, pairs, by_arm, plan)
    ]


def _tests_of(
    metric: str,
    notable: float,
    last: int | None,
    pairs: Sequence[tuple[str, str]],
    by_arm: Mapping[str, Mapping[int, Run]],
    plan: Plan,
) -> list[Test]:
    values = {name: _values(runs, plan, recorded(metric), last) for name, runs in by_arm.items()}
    told = []
    for arm, control in pairs:
        common = [seed for seed in values[arm] if seed in values[control]]
        result = paired([values[arm][seed] for seed in common], [values[control][seed] for seed in common])
        if result is not None:
            told.append((arm, control, result))
    corrected = holm([result.p for _, _, result in told])
    return [
        Test(metric, last is not None, arm, control, result, p, notable, _needed(result, notable, len(told)))
        for (arm, control, result), p in zip(told, corrected, strict=True)
    ]


def _needed(result: Paired, notable: float, tests: int) -> int | None:
    return seeds_needed(result.deviation, notable, tests) if result.deviation else None


def _values(runs: Mapping[int, Run], plan: Plan, read: Read, last: int | None) -> dict[int, float]:
    """Return a mean of each seed's run; seeds whose runs did not record it are left out."""
    return {seed: mean for seed, run in runs.items() if (mean := mean_of_run(run, plan.stage, read, last)) is not None}
