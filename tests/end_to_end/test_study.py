"""A study through the command: interrupted and gone on with, it comes to the same table; bad input is refused."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from reference import small
from reference.command import overrides, rhythm, start, wait_for_rows
from reference.small import SFT_STEPS

from rl.comparison.summary import REWARD
from rl.telemetry.jsonl import read_rows

STEPS, LAST = 12, 4
STUDY = """\
name: pair
recipe: quickstart
shared: {stages: [sft], seed: 0}
seeds: [0, 1]
against: [uniform]
last: 4
arms:
  uniform: {credit: {kind: uniform}}
  coupled: {credit: {kind: coupled, horizon: [2, 20]}}
"""
RECIPE = (*(text for text in small.RECIPE if not text.startswith("credit.")), f"stages.grpo.trainer.steps={STEPS}")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "pair.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


def words(study: Path, folder: Path, *more: str) -> list[str | Path]:
    return ["study", study, "--run-dir", folder, "--jobs", "2", *overrides(*RECIPE), *more]


def conduct(study: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return rhythm(*words(study, folder, *more), PYTHONPATH=str(small.TESTS))


@pytest.fixture(scope="module")
def whole(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    done = conduct(study, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pair" in done.stdout and str(folder / "study.html") in done.stdout.replace("\n", "")
    return folder


def test_the_table_is_what_the_runs_recorded(whole: Path) -> None:
    said = json.loads((whole / "study.json").read_text(encoding="utf-8"))
    assert [arm["arm"] for arm in said["arms"]] == ["uniform", "coupled"] and said["missing"] == []
    for arm in said["arms"]:
        finals, means = [], []
        for seed in (0, 1):
            rows = read_rows(whole / "runs" / f"{arm['arm']}-seed{seed}" / "metrics.jsonl")
            assert [(row["stage"], row["step"]) for row in rows] == [("grpo", step + 1) for step in range(STEPS)]
            rewards = [row["reward/total/mean"] for row in rows if "reward/total/mean" in row]
            finals.append(sum(rewards[-LAST:]) / LAST)
            means.append(sum(rewards) / len(rewards))
        assert arm["outcomes"][REWARD]["final"]["mean"] == pytest.approx(sum(finals) / 2, rel=1e-3)
        assert arm["outcomes"][REWARD]["mean"]["mean"] == pytest.approx(sum(means) / 2, rel=1e-3)
    assert "| uniform (control) | 2 |" in (whole / "study.md").read_text(encoding="utf-8")


def test_runs_of_one_seed_are_a_pair(whole: Path) -> None:
    """The same start, tasks and draws: the first rollouts are the same, and only then credit sets them apart."""
    rows = {
        (arm, seed): read_rows(whole / "runs" / f"{arm}-seed{seed}" / "metrics.jsonl")
        for arm in ("uniform", "coupled")
        for seed in (0, 1)
    }
    first = {key: own[0]["reward/total/mean"] for key, own in rows.items()}
    assert first["uniform", 1] == first["coupled", 1] != first["uniform", 0] == first["coupled", 0]
    assert rows["uniform", 1][-1]["policy/entropy/mean"] != rows["coupled", 1][-1]["policy/entropy/mean"]
    said = json.loads((whole / "study.json").read_text(encoding="utf-8"))
    assert [(one["arm"], one["control"]) for one in said["tests"]] == [("coupled", "uniform")] * 2


def test_an_interrupted_study_comes_to_the_same_table(study: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = start(*words(study, folder), PYTHONPATH=str(small.TESTS))
    wait_for_rows(folder / "runs" / "uniform-seed0" / "metrics.jsonl", 4, process)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "go on with" in out and "Traceback" not in out
    assert not (folder / "runs" / "coupled-seed1" / "metrics.jsonl").exists()
    early = conduct(study, folder, "--minutes", "0")
    assert early.returncode == 130 and "the time that --minutes gives is over" in early.stderr
    done = conduct(study, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "study.md").read_text(encoding="utf-8") == (whole / "study.md").read_text(encoding="utf-8")
    assert json.loads((folder / "study.json").read_text()) == json.loads((whole / "study.json").read_text())
    assert len(read_rows(folder / "shared" / "seed0" / "metrics.jsonl")) == SFT_STEPS


def test_what_is_done_is_not_done_again(study: Path, whole: Path) -> None:
    before = (whole / "runs" / "coupled-seed1" / "environment.json").read_bytes()
    done = conduct(study, whole)
    assert done.returncode == 0 and "begins" not in done.stdout
    assert (whole / "runs" / "coupled-seed1" / "environment.json").read_bytes() == before


def test_other_settings_are_refused(study: Path, whole: Path) -> None:
    done = conduct(study, whole, *overrides("stages.grpo.trainer.learning_rate=1e-9"))
    assert done.returncode == 2 and "was made by other settings" in done.stderr and "Traceback" not in done.stderr


def test_a_run_that_fails_costs_no_other(tmp_path: Path) -> None:
    """Its log is named, the rest is finished, and the table says what is missing."""
    (tmp_path / "short.yaml").write_text("base: quickstart\nstages: [{name: grpo}]\n", encoding="utf-8")
    study = tmp_path / "failing.yaml"
    broken = "  broken: {rewards: {parts: {raises: {reward: 'reference.dying:Raises'}}}}\n"
    text = STUDY.partition("  coupled")[0].replace("[0, 1]", "[0]").replace("quickstart", "short.yaml")
    study.write_text(text.replace("shared: {stages: [sft], seed: 0}\n", "") + broken, encoding="utf-8")
    changes = overrides(*(text for text in RECIPE if not text.startswith("stages.sft")))
    done = rhythm("study", study, "--run-dir", tmp_path / "out", *changes, PYTHONPATH=str(small.TESTS))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken-seed0 failed" in done.stderr and "Not finished yet: broken-seed0" in (
        tmp_path / "out" / "study.md"
    ).read_text(encoding="utf-8")
    said = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    assert [arm["arm"] for arm in said["arms"]] == ["uniform"]
