"""The regression against its likelihood worked out by hand, and what it refuses."""

import numpy
import pytest

from rl.analysis.regression import logistic


def drawn(seed: int, slope: float) -> tuple[list[bool], dict[str, list[float]], list[int]]:
    random = numpy.random.default_rng(seed)
    gap, echo = random.normal(2.0, 0.5, 800), random.normal(30.0, 8.0, 800)
    odds = 0.3 + slope * (gap - 2.0) / 0.5
    right = random.random(800) < 1 / (1 + numpy.exp(-odds))
    return right.tolist(), {"gap": gap.tolist(), "echo": echo.tolist()}, [index // 4 for index in range(800)]


def test_a_planted_effect_is_found_and_none_where_none_is() -> None:
    found = logistic(*drawn(0, 0.8))
    assert isinstance(found, dict)
    assert found["gap"].low < 0.8 < found["gap"].high and found["gap"].p_value < 1e-6
    assert found["echo"].low < 0.0 < found["echo"].high
    assert found["gap"].deviation == pytest.approx(0.5, rel=0.1)
    assert found["echo"].deviation == pytest.approx(8, rel=0.1)


def test_its_slope_is_where_the_likelihood_is_highest() -> None:
    """At the maximum the residuals do not go with any predictor."""
    outcomes, predictors, groups = drawn(1, 0.5)
    found = logistic(outcomes, predictors, groups)
    assert isinstance(found, dict)
    table = numpy.array(list(predictors.values()))
    scaled = (table - table.mean(1, keepdims=True)) / table.std(1, keepdims=True)
    slopes = numpy.array([effect.log_odds for effect in found.values()])
    level = 0.0
    for _ in range(50):  # Newton's method for the intercept, which is not told
        p = 1 / (1 + numpy.exp(-(level + slopes @ scaled)))
        level += (numpy.array(outcomes) - p).sum() / (p * (1 - p)).sum()
    residuals = numpy.array(outcomes) - 1 / (1 + numpy.exp(-(level + slopes @ scaled)))
    assert numpy.abs(scaled @ residuals).max() < 1e-3


def test_what_can_say_nothing_says_why() -> None:
    outcomes, predictors, groups = drawn(0, 0.5)
    assert "traces with an echo are too few" in str(
        logistic(outcomes[:30], {"gap": predictors["gap"][:30]}, groups[:30])
    )
    assert "the echo is the same" in str(logistic(outcomes, {"echo": [3.0] * 800}, groups))
    assert "19 questions with an echo are too few" in str(logistic(outcomes, predictors, [n % 19 for n in range(800)]))
    assert "without fail" in str(logistic(outcomes, {"gap": [float(right) for right in outcomes]}, groups))
    assert "from each other" in str(
        logistic(outcomes, {"gap": predictors["gap"], "echo": [2 * gap for gap in predictors["gap"]]}, groups)
    )
