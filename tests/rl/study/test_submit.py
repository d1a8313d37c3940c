"""What is left of a study as a job: a study that has grown submits what was added, and what is over stays out."""

import json
from pathlib import Path

import pytest

from rl.study.conduct import make_runs
from rl.study.plan import StudyError, plan, read_study
from rl.study.submit import launch_of, submit
from rl.telemetry import attempts

STUDY = """\
name: pair
recipe: quickstart
seeds: [0]
against: [plain]
arms:
  plain: {credit: {kind: uniform}}
  anchor: {credit: {kind: anchor}}
"""


def test_a_study_that_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text(STUDY, encoding="utf-8")
    names = []
    for seeds in ("[0]", "[0, 1]", "[2]"):
        path.write_text(STUDY.replace("[0]", seeds), encoding="utf-8")
        found = plan(*read_study(str(path)), tmp_path / "out")
        make_runs(found)
        names.append([run.name for run in launch_of(found.runs).runs])
    assert names == [
        ["plain-seed0", "anchor-seed0"],
        ["plain-seed0", "anchor-seed0", "plain-seed1", "anchor-seed1"],
        ["plain-seed2", "anchor-seed2"],
    ]
    record = json.loads((tmp_path / "out" / "runs" / "launch" / "launch.json").read_text(encoding="utf-8"))
    assert record["runs"] == [*names[1], *names[2]]


def test_a_run_that_an_alarm_stopped_is_over(tmp_path: Path) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text(STUDY, encoding="utf-8")
    found = plan(*read_study(str(path)), tmp_path / "out")
    make_runs(found)
    environment = found.runs[0].path / "environment.json"
    attempts.begin(environment, {"started": "2026-01-01T00:00:00+00:00"}, None)
    attempts.end(environment, "alarmed", "entropy", None)
    assert [run.name for run in launch_of(found.runs).runs] == ["anchor-seed0"]


def test_arms_that_cannot_be_submitted_wait_for_what_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted alone they would not wait: the same command again, once the job that trains it is over."""
    taken = tmp_path / "taken"
    programs = {
        "sbatch": f"if [ -e {taken} ]; then echo 'sbatch: error: no more jobs' >&2; exit 1; fi; touch {taken}; echo 7",
        "scontrol": "echo not found >&2; exit 1",
    }
    for name, body in programs.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    path = tmp_path / "pair.yaml"
    path.write_text(STUDY.replace("seeds: [0]", "shared: {stages: [sft], seed: 0}\nseeds: [0]"), encoding="utf-8")
    found = plan(*read_study(str(path)), tmp_path / "out")
    with pytest.raises(
        StudyError, match=r"no more jobs.*; job 7 trains what the arms share: once it is over, give the"
    ):
        submit(found, found)
