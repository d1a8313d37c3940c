"""Before a study's runs are made: its folder, and what an earlier attempt left there."""

from pathlib import Path

import pytest

from rl.study.conduct import check_made, make_folder, make_runs, share_of_cores
from rl.study.plan import Changes, Plan, StudyError, narrowed, plan, read_study
from rl.telemetry import attempts

STUDY = """\
name: pair
recipe: quickstart
shared: {stages: [sft], seed: 0}
seeds: [0]
against: [plain]
arms:
  plain: {credit: {kind: uniform}}
  anchor: {credit: {kind: anchor}}
"""


@pytest.fixture
def pair(tmp_path: Path) -> Plan:
    return planned(tmp_path)


def planned(tmp_path: Path, *changes: str, seeds: list[int] | None = None) -> Plan:
    path = tmp_path / "pair.yaml"
    path.write_text(STUDY, encoding="utf-8")
    study, _ = read_study(str(path))
    return plan(narrowed(study, None, seeds), path, tmp_path / "out", Changes(list(changes), []))


def alarm(folder: Path) -> None:
    attempts.begin(folder / "environment.json", {"started": "2026-01-01T00:00:00+00:00"}, None)
    attempts.end(folder / "environment.json", "alarmed", "guard", None)


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(StudyError, match=r"taken.out: cannot be written: Not a directory; give --run-dir"):
        make_folder(tmp_path / "taken" / "out")
    make_folder(tmp_path / "new" / "out")
    make_folder(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").is_dir()


def test_runs_are_made_once(pair: Plan) -> None:
    check_made(pair)
    make_runs(pair)
    folders = [run.path for run in (*pair.shared, *pair.runs)]
    assert [folder.name for folder in folders] == ["seed0", "plain-seed0", "anchor-seed0"]
    made = [(folder / "environment.json").read_bytes() for folder in folders]
    make_runs(pair)
    check_made(pair)
    assert [(folder / "environment.json").read_bytes() for folder in folders] == made


@pytest.mark.parametrize("change", ["data.size=99", "stages.grpo.trainer.steps=9"])
def test_runs_of_other_settings_are_refused_whichever_part_is_conducted(
    pair: Plan, tmp_path: Path, change: str
) -> None:
    """Those of seeds that this part leaves alone too: they would stand in one table."""
    make_runs(pair)
    with pytest.raises(StudyError, match=rf"{pair.folder}.*made by other settings than the study has now.*--run-dir"):
        check_made(planned(tmp_path, change))
    with pytest.raises(StudyError, match="made by other settings"):
        check_made(planned(tmp_path, change, seeds=[0, 1]))


def test_no_arm_starts_from_what_an_alarm_stopped(pair: Plan) -> None:
    make_runs(pair)
    alarm(pair.runs[0].path)
    check_made(pair)
    alarm(pair.shared[0].path)
    with pytest.raises(StudyError, match=r"seed0: an alarm stopped it, and no arm can start from it.*take that folder"):
        check_made(pair)


def test_threads_do_not_depend_on_what_is_left(pair: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [share_of_cores(pair.runs, jobs) for jobs in (1, 2, 4, 99)] == [8, 4, 4, 4]
    assert [share_of_cores(pair.runs * 9, jobs) for jobs in (4, 16)] == [2, 1]
