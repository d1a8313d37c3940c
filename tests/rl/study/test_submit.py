"""What is left of a study as a job: a study that has grown submits what was added, and what is over stays out."""

import json
from pathlib import Path

from rl.study.conduct import make_runs
from rl.study.plan import plan, read_study
from rl.study.submit import launch_of
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
