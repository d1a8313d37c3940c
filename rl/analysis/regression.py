"""Logistic regression of correctness, with errors that allow for traces of one question being alike."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy

LEAST = 20  # traces of either outcome, below which a regression says nothing


@dataclass(frozen=True, slots=True)
class Effect:
    """Hold the change of the log-odds for one standard deviation of a predictor, with its 95 % interval.

    `deviation` is that standard deviation, in the predictor's own unit.
    """

    log_odds: float
    low: float
    high: float
    p_value: float
    deviation: float


def logistic(
    outcomes: Sequence[bool], predictors: Mapping[str, Sequence[float]], groups: Sequence[Hashable]
) -> dict[str, Effect] | str:
    """Return each predictor's effect, with the others held still; or why there is none to tell.

    Predictors are brought to mean 0 and standard deviation 1. Standard errors are clustered by group [ours].
    """
    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationWarning

    right = sum(outcomes)
    if min(right, len(outcomes) - right) < LEAST:
        return f"{right} right and {len(outcomes) - right} wrong traces are too few: {LEAST} of either are needed"
    table = numpy.array([predictors[name] for name in predictors], dtype=float)
    spread = table.std(1)
    flat = [name for name, deviation in zip(predictors, spread, strict=True) if deviation < 1e-12]
    if flat:
        return f"{flat[0]} is the same for all traces"
    scaled = (table - table.mean(1, keepdims=True)) / spread[:, None]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(numbers) < 2:
        return "all traces are of one question"
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fit = Logit(numpy.array(outcomes, dtype=float), numpy.vstack([numpy.ones(len(outcomes)), scaled]).T).fit(
                disp=0, cov_type="cluster", cov_kwds={"groups": numpy.array([numbers[group] for group in groups])}
            )
        except (ConvergenceWarning, PerfectSeparationWarning, numpy.linalg.LinAlgError):
            return "the predictors tell right from wrong without fail, or cannot be told from each other"
    ends = fit.conf_int()
    return {
        name: Effect(
            float(fit.params[place]),
            float(ends[place][0]),
            float(ends[place][1]),
            float(fit.pvalues[place]),
            float(spread[place - 1]),
        )
        for place, name in enumerate(predictors, 1)
    }
