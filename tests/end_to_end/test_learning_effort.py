"""The embedded model learns what effort means through the real command; figures are read from metrics.jsonl."""

from pathlib import Path

from reference.learning import FIGURES, learn, mean


def test_effort_sets_the_length_and_costs_no_reward(tmp_path: Path) -> None:
    """In the last steps reasoning at effort 0.4 is shorter by a quarter than at 1.2, and the reward has not fallen."""
    rows = learn("effort", tmp_path, seed=0)
    steps, _ = FIGURES["effort"]
    first, last = rows[:steps], rows[-steps:]
    assert mean(last, "effort/length@0.4/mean") <= 0.75 * mean(last, "effort/length@1.2/mean")
    assert mean(last, "reward/total/mean") >= mean(first, "reward/total/mean") - 0.05
    assert mean(last, "reward/answer/mean") >= mean(first, "reward/answer/mean") - 0.05
    assert mean(last, "effort/reward@0.4/mean") > mean(first, "effort/reward@0.4/mean")
