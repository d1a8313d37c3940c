"""Runs whose numbers are written by hand come to a table and to tests that were worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from rl.comparison.summary import REWARD
from rl.recipe import dump
from rl.study import page
from rl.study.outcomes import outcomes_of
from rl.study.plan import Plan, PlannedRun, plan, read_study
from rl.study.weighed import most_weighed
from rl.study.write import write_outcomes

STUDY = """\
name: by-hand
recipe: quickstart
shared: {stages: [sft], seed: 0}
seeds: [0, 1, 2]
against: [plain]
last: 2
outcomes: {reward/total/mean: 0.05, rollout/length/mean: 2}
arms:
  plain: {credit: {kind: uniform}}
  better: {credit: {kind: coupled}}
  worse: {credit: {kind: random}}
"""
REWARDS = {  # by arm and seed: the reward of each of three steps
    ("plain", 0): (0.0, 0.3, 0.5),
    ("plain", 1): (0.1, 0.4, 0.6),
    ("plain", 2): (0.2, 0.5, 0.7),
    ("better", 0): (0.0, 0.4, 0.6),
    ("better", 1): (0.1, 0.6, 0.8),
    ("better", 2): (0.2, 0.8, 1.0),
    ("worse", 0): (0.0, 0.2, 0.4),
    ("worse", 1): (0.1, 0.3, 0.5),
}


def finish(run: PlannedRun) -> None:
    """Write what a run that has finished leaves behind, with the rewards of its arm and seed."""
    (run.path / "checkpoints" / "grpo" / "final").mkdir(parents=True)
    (run.path / "report.html").touch()
    ended = {"id": "abc", "started": "2026-01-01T00:00:00+00:00", "ended": {"how": "finished"}}
    (run.path / "environment.json").write_text(json.dumps(ended), encoding="utf-8")
    (run.path / "recipe.json").write_text(json.dumps(dump(run.recipe)), encoding="utf-8")
    rows: list[dict[str, Any]] = [
        {
            "stage": "grpo",
            "step": step,
            "reward/total/mean": reward,
            "reward/answer/mean": reward / 2,
            "rollout/length/mean": 30 + step,
            "credit/weight/mean": 1.2,
        }
        for step, reward in enumerate(REWARDS[str(run.arm), run.seed], 1)
    ]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    weights = [1.5, 1.0] * 30
    sample = {"stage": "grpo", "step": 1, "tokens": ["So", "</b>|"] * 30, "weight": weights}
    (run.path / "samples.jsonl").write_text(json.dumps(sample) + "\n", encoding="utf-8")


@pytest.fixture
def found(tmp_path: Path) -> Plan:
    path = tmp_path / "by-hand.yaml"
    path.write_text(STUDY, encoding="utf-8")
    study, path = read_study(str(path))
    found = plan(study, path, tmp_path / "out")
    for run in found.runs:
        if (run.arm, run.seed) in REWARDS:
            finish(run)
    return found


def test_means_over_seeds(found: Plan) -> None:
    outcomes = outcomes_of(found)
    assert outcomes is not None
    plain, better, worse = outcomes.means
    assert (plain.seeds, worse.seeds, outcomes.missing) == ([0, 1, 2], [0, 1], ["worse-seed2"])
    final, mean = plain.outcomes[REWARD].final, better.outcomes[REWARD].mean
    assert final is not None and final.mean == pytest.approx(0.5)  # of 0.4, 0.5, 0.6: s = 0.1
    assert final.low == pytest.approx(0.5 - 4.302653 * 0.1 / 3**0.5, abs=1e-6)
    assert mean is not None and mean.mean == pytest.approx((1 / 3 + 0.5 + 2 / 3) / 3, abs=1e-4)
    length = plain.outcomes["rollout/length/mean"]
    assert length.final is not None and length.final.mean == 32.5 and length.mean is not None and length.mean.mean == 32
    assert worse.accuracy is not None and worse.accuracy.mean == pytest.approx(0.175)
    assert plain.length is not None and plain.length.mean == 32.5


def test_tests_are_paired_by_seed_and_corrected(found: Plan) -> None:
    """better - plain, last two steps: 0.1, 0.2, 0.3: t = 2 sqrt 3, p = 1 - sqrt(12 / 14) = 0.0742.

    worse - plain: -0.1 and -0.1 over the two seeds that both have: no spread, and no p. Holm is over the one that has.
    """
    outcomes = outcomes_of(found)
    assert outcomes is not None
    better, worse = [one for one in outcomes.tests if one.final and one.metric == REWARD]
    assert (better.arm, better.control, worse.arm) == ("better", "plain", "worse")
    assert better.paired.difference.mean == pytest.approx(0.2)
    assert better.paired.p == better.corrected == pytest.approx(1 - (12 / 14) ** 0.5)
    assert worse.paired.difference.mean == pytest.approx(-0.1) and worse.paired.difference.count == 2
    assert worse.paired.p is worse.corrected is worse.needed is None
    assert better.needed is not None and better.needed > 34  # half a deviation, at half the level
    assert {(one.metric, one.notable) for one in outcomes.tests} == {(REWARD, 0.05), ("rollout/length/mean", 2)}


def test_what_is_written(found: Plan) -> None:
    assert write_outcomes(found) is not None
    text = (found.folder / "study.md").read_text(encoding="utf-8")
    assert "| plain (control) | 3 | 0.500 [0.252, 0.748] |" in text
    assert "| better - plain | reward, last 2 steps | 3 | 0.200 [-0.048, 0.448] | 0.074 | 0.074 |" in text
    assert "| better - plain | rollout/length/mean, all steps | 3 | 0.0 | 1.000 | 1.000 | - |" in text
    assert "Not finished yet: worse-seed2." in text
    assert '"So" 1.50, "&lt;/b>\\|" 1.00' in text
    said = json.loads((found.folder / "study.json").read_text(encoding="utf-8"))
    assert said["arms"][0]["outcomes"][REWARD]["final"]["count"] == 3 and said["study"]["against"] == ["plain"]
    html = (found.folder / "study.html").read_text(encoding="utf-8")
    assert "Study by-hand" in html and "</b>|" not in html


def test_what_credit_did_is_left_out_where_no_arm_weighed_a_token(found: Plan) -> None:
    for run in found.runs:
        if (run.path / "metrics.jsonl").is_file():
            rows = (run.path / "metrics.jsonl").read_text(encoding="utf-8")
            (run.path / "metrics.jsonl").write_text(rows.replace("credit/weight", "optimizer/lr"), encoding="utf-8")
            (run.path / "samples.jsonl").unlink()
    outcomes = outcomes_of(found)
    assert outcomes is not None and page.diagnostics_table(outcomes)[1] == []
    assert write_outcomes(found) is not None
    for name in ("study.md", "study.html"):
        assert "What credit did" not in (found.folder / name).read_text(encoding="utf-8")


def test_nothing_is_written_where_nothing_has_finished(found: Plan) -> None:
    for run in found.runs:
        (run.path / "report.html").unlink(missing_ok=True)
    assert write_outcomes(found) is None and not (found.folder / "study.md").exists()


def test_tokens_are_told_of_where_weights_differ() -> None:
    rows = [{"tokens": ["a", "b", "rare"], "weight": [1.0, 2.0, 9.0]}] * 25
    rows[0] = {"tokens": ["a", "b"], "weight": [1.0, None]}
    assert [(one.token, one.count) for one in most_weighed([*rows[:2], *rows[2:]])][:1] == [("rare", 24)]
    assert most_weighed([{"tokens": ["a", "b"], "weight": [1.0, 1.0]}] * 30) == []
    assert most_weighed([{"tokens": ["a"], "weight": None}, {}]) == []


def test_names_of_columns_match_their_rows(found: Plan) -> None:
    outcomes = outcomes_of(found)
    assert outcomes is not None
    tables = (page.table_of(outcomes, found), page.tests_table(outcomes.tests, found), page.diagnostics_table(outcomes))
    assert all(len(row) == len(heads) for heads, rows in tables for row in rows)


def test_runs_that_an_alarm_stopped_count_and_are_named(found: Plan) -> None:
    path = found.folder / "runs" / "worse-seed1" / "environment.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**said, "ended": {"how": "alarmed", "reason": "entropy"}}), encoding="utf-8")
    outcomes = write_outcomes(found)
    assert outcomes is not None and outcomes.means[2].seeds == [0, 1] and outcomes.alarmed == ["worse-seed1"]
    text = (found.folder / "study.md").read_text(encoding="utf-8")
    assert "Stopped by an alarm, and counted with the steps that they have: worse-seed1." in text


def test_a_run_that_an_alarm_stopped_before_the_stage_is_named_and_has_no_values(found: Plan) -> None:
    """One was stopped in an earlier stage, one before its first step; a torn sample costs no table."""
    for seed, rows in ((0, '{"stage": "sft", "step": 1}\n'), (1, '{"stage": "gr')):
        run = found.folder / "runs" / f"worse-seed{seed}"
        said = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        (run / "environment.json").write_text(json.dumps({**said, "ended": {"how": "alarmed"}}), encoding="utf-8")
        (run / "metrics.jsonl").write_text(rows, encoding="utf-8")
    with (found.folder / "runs" / "plain-seed0" / "samples.jsonl").open("a", encoding="utf-8") as file:
        file.write("{torn\n{}\n")
    outcomes = write_outcomes(found)
    assert outcomes is not None and outcomes.alarmed == [] and outcomes.silent == ["worse-seed0", "worse-seed1"]
    text = (found.folder / "study.md").read_text(encoding="utf-8")
    assert "before stage grpo, and in no mean: worse-seed0, worse-seed1." in text and "counted with" not in text
    assert outcomes.missing == ["worse-seed2"] and outcomes.means[2].outcomes[REWARD].final is None
    assert {one.arm for one in outcomes.tests} == {"better"}


def test_small_differences_are_not_rounded_away(found: Plan) -> None:
    """4000.1, 4000.2, 4000.4 against 4000: differences 0.1, 0.2, 0.4 have a deviation of sqrt(7/300)."""
    for run in found.runs:
        if run.arm in ("plain", "better"):
            length = 4000 + (0.1, 0.2, 0.4)[run.seed] * (run.arm == "better")
            row = {"stage": "grpo", "step": 1, "reward/total/mean": 0.5, "rollout/length/mean": length}
            (run.path / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    outcomes = outcomes_of(found)
    assert outcomes is not None
    test = next(one for one in outcomes.tests if one.arm == "better" and one.metric == "rollout/length/mean")
    assert test.paired.difference.mean == pytest.approx(0.7 / 3) and test.paired.deviation == pytest.approx(
        (7 / 300) ** 0.5
    )
