"""Comparisons: which runs are an arm, means and intervals by hand and by brute force, and the real command."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from reference.command import rhythm
from reference.runs import make_run

from rl.comparison.arms import arms_of, flat
from rl.comparison.compare import compare
from rl.comparison.runs import ComparisonError, read_runs
from rl.comparison.summary import QUANTITIES, curve_of, figures_of
from rl.recipe import dump
from rl.recipe.sections import Recipe
from rl.telemetry.record import RunError

REWARD, ACCURACY, LENGTH, TURNOVER = QUANTITIES


def write_run(folder: Path, rewards: list[float], **changes: Any) -> Path:
    """Write a run of a real recipe whose grpo stage gave these rewards."""
    recipe = {**dump(Recipe()), **changes}
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    rows = [
        {
            "stage": "grpo",
            "step": step,
            "reward/total/mean": reward,
            "reward/format/mean": 1.0,
            "reward/answer/mean": reward / 2,
            "rollout/length/mean": 10 * reward,
            "time/step/seconds": 2.0,
        }
        for step, reward in enumerate(rewards, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_an_arm_is_a_recipe_but_for_what_is_run_level(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [1.0])
    two = write_run(tmp_path / "two", [1.0], seed=7, checkpoints={"every": 3, "keep": 1})
    other = write_run(tmp_path / "other", [1.0], credit={"kind": "uniform"})
    named = write_run(tmp_path / "named", [1.0], name="mine", seed=3)
    arms = arms_of(read_runs([one, other, two, named]))
    assert [[run.name for run in arm.runs] for arm in arms] == [["one", "two"], ["other"], ["named"]]
    assert arms[0].name == "quickstart (credit=coupled)" and arms[2].name == "mine"
    assert arms[1].name == "quickstart (credit=uniform)"


def test_a_recipe_of_before_a_key_was_there_is_the_same_arm(tmp_path: Path) -> None:
    """What a recipe leaves out is its default."""
    one, old = write_run(tmp_path / "one", [1.0]), write_run(tmp_path / "old", [1.0], seed=1)
    recipe = json.loads((old / "recipe.json").read_text())
    del recipe["alarms"], recipe["rewards"]["max_errors"], recipe["effort"]
    (old / "recipe.json").write_text(json.dumps(recipe))
    assert len(arms_of(read_runs([one, old]))) == 1


def test_names_that_collide_still_differ(tmp_path: Path) -> None:
    """Three keys are shown; arms that differ only in a fourth are numbered."""
    runs = [write_run(tmp_path / f"{i}", [1.0], a=0, b=i // 4, c=i % 2, d=i // 2 % 2, e=i) for i in range(6)]
    names = [arm.name for arm in arms_of(read_runs(runs))]
    assert len(set(names)) == 6 and names[0] == "quickstart (b=0, c=0, d=0, ...)"
    runs = [write_run(tmp_path / f"x{i}", [1.0], a=0, b=i // 5, c=i // 5, d=i // 5, e=i) for i in range(6)]
    assert [arm.name[-3:] for arm in arms_of(read_runs(runs))] == ["[1]", "[2]", "[3]", "[4]", "[5]", "..)"]


def test_a_list_of_what_has_a_name_is_flat_by_it() -> None:
    tree = {"stages": [{"name": "a", "trainer": {"steps": 3}}], "x": [1, 2], "y": {}, "z": None}
    assert flat(tree) == {"stages.a.trainer.steps": "3", "x": "[1, 2]", "y": "{}", "z": "null"}


def test_the_table_is_what_hands_work_out(tmp_path: Path) -> None:
    """Rewards 1..12 and 3..14: the last ten steps of each have the means 7.5 and 9.5, all steps 6.5 and 8.5."""
    runs = [write_run(tmp_path / f"{low}", [float(low + i) for i in range(12)], seed=low) for low in (1, 3)]
    [arm] = arms_of(read_runs(runs))
    [found] = figures_of([arm], "grpo")
    assert (found.runs, found.steps) == (2, (12, 12))
    for interval, low, high in ((found.last_reward, 7.5, 9.5), (found.mean_reward, 6.5, 8.5)):
        assert interval and (interval.mean, interval.low, interval.high) == ((low + high) / 2, low, high)
    assert found.accuracy and found.accuracy.mean == 8.5 / 2  # of the part whose role is correct, not of the format
    assert found.length and found.length.mean == 85.0
    assert found.seconds and found.seconds.mean == 2.0


def test_a_band_is_the_bootstrap_over_runs(tmp_path: Path) -> None:
    """Three runs have 27 draws: the percentiles of their means, by brute force."""
    rewards = [[0.0, 1.0, 5.0, 2.0], [1.0, 1.5, 2.0, 8.0], [4.0, 0.0, 1.0, 1.0]]
    runs = [write_run(tmp_path / f"{place}", own, seed=place) for place, own in enumerate(rewards)]
    [arm] = arms_of(read_runs(runs))
    curve = curve_of(arm, "grpo", REWARD)
    assert curve and list(curve.steps) == [1, 2, 3, 4]
    for at, found in enumerate(curve.means):
        smooth = [sum(own[max(0, at - 2) : at + 1]) / min(3, at + 1) for own in rewards]
        draws = sorted(sum(draw) / 3 for draw in itertools.product(smooth, repeat=3))
        assert found.mean == pytest.approx(sum(smooth) / 3, rel=1e-3)
        assert found.low is not None and found.high is not None
        assert draws[0] - 1e-3 <= found.low <= draws[1] + 1e-3 and draws[-2] - 1e-3 <= found.high <= draws[-1] + 1e-3


def test_a_run_that_is_still_going_counts_as_far_as_it_is(tmp_path: Path) -> None:
    long = write_run(tmp_path / "long", [2.0] * 8)
    short = write_run(tmp_path / "short", [4.0] * 5, seed=1)
    with (short / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "grpo", "st')  # it is writing its sixth
    [arm] = arms_of(read_runs([long, short]))
    curve = curve_of(arm, "grpo", REWARD)
    assert curve and [one.mean for one in curve.means] == [3.0] * 5 + [2.0] * 3
    assert [one.low is None for one in curve.means] == [False] * 5 + [True] * 3
    assert figures_of([arm], "grpo")[0].steps == (5, 8)
    assert curve_of(arm, "grpo", TURNOVER) is None


def test_the_command_writes_a_page_and_tables(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "runs" / f"r{seed}", samples=4, seed=seed) for seed in (1, 2)]
    runs.append(write_run(tmp_path / "runs" / "mine", [1.0, 2.0], name="a b"))
    done = rhythm("compare", *runs, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "gsm8k-rhythm" in done.stdout and "comparison.html" in done.stdout
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "Turnover of heads" in page and "seconds a step" in page and 'id="settings"' in page
    again = rhythm("compare", *runs, "--out", tmp_path / "out", "--markdown")
    assert again.stdout == (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| a b | 1 | 2 | 1.500 | 1.500 | 0.750 | 15.0 | 2.00 |" in again.stdout


def test_text_of_recipes_is_no_markup(tmp_path: Path) -> None:
    hostile = "a|b</script><script>x\n| c |"
    run = write_run(tmp_path / "run", [1.0], name=hostile)
    found = compare([run], tmp_path / "out")
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "<script>x" not in page and "| a\\|b&lt;/script>&lt;script>x \\| c \\| |" in found.markdown


@pytest.mark.parametrize(
    ("recipe", "metrics", "fault"),
    [
        (None, "", r"holds no run \(no recipe.json\)"),
        ("[]", "", "recipe.json: should be a JSON object"),
        ("{}", None, "has recorded no step yet"),
        ("{}", '{"stage": "a", "st', "has recorded no step yet"),
        ("{}", '{"stage": "a"}\n', "has recorded no step yet"),
        ("{}", 'no\n{"stage": "a", "step": 1}\n', "metrics.jsonl:1: not valid JSON"),
    ],
)
def test_damage_is_named(tmp_path: Path, recipe: str | None, metrics: str | None, fault: str) -> None:
    for name, text in (("recipe.json", recipe), ("metrics.jsonl", metrics)):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises((ComparisonError, RunError), match=fault):
        compare([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_asked_wrongly_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [1.0])
    (tmp_path / "link").symlink_to(run)
    done = rhythm("compare", run, tmp_path / "link", "--out", tmp_path / "out")
    assert done.returncode == 2 and "is named twice" in done.stderr and not (tmp_path / "out").exists()
    assert rhythm("compare").returncode == 2
    done = rhythm("compare", run, "--out", run / "recipe.json")
    assert done.returncode == 2 and "give --out another folder" in done.stderr
    with pytest.raises(ComparisonError, match="name at least one RUN"):
        read_runs([])
