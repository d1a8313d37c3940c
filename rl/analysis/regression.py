"""Logistic regression of correctness, with errors that allow for traces of one question being alike."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy

LEAST = 20  # traces of either outcome, and questions: clustered errors of fewer are too small


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
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, HessianInversionWarning, PerfectSeparationWarning

    right = sum(outcomes)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    for least, words in ((right, "right traces"), (len(outcomes) - right, "wrong traces"), (len(numbers), "questions")):
        if least < LEAST:
            return f"{least} {words} with an echo are too few: {LEAST} are needed"
    table = numpy.array([predictors[name] for name in predictors], dtype=float)
    spread = table.std(1)
    flat = [name for name, deviation in zip(predictors, spread, strict=True) if deviation < 1e-12]
    if flat:
        return f"the {flat[0]} is the same for all traces with an echo"
    scaled = (table - table.mean(1, keepdims=True)) / spread[:, None]
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, PerfectSeparationWarning, HessianInversionWarning):
            warnings.simplefilter("error", kind)
        try:
            fit = Logit(numpy.array(outcomes, dtype=float), numpy.vstack([numpy.ones(len(outcomes)), scaled]).T).fit(
                disp=0,
                cov_type="cluster",
                cov_kwds={"groups": numpy.array([numbers[group] for group in groups])},
                use_t=True,  # with as many degrees of freedom as there are questions, less one
            )
        except (ConvergenceWarning, PerfectSeparationWarning, HessianInversionWarning, numpy.linalg.LinAlgError):
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
