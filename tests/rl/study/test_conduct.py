"""Before a study's runs are made: its folder, and what an earlier attempt left there."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rl.study.conduct import (
    BEGUN,
    Attempt,
    Stopped,
    check_made,
    conduct,
    last_words,
    make_folder,
    make_runs,
    share_of_cores,
)
from rl.study.plan import Changes, Plan, PlannedRun, StudyError, narrowed, plan, read_study
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


def finish(folder: Path, rows: int) -> None:
    """Write what a run that has finished leaves behind, with so many of its steps on record."""
    attempts.begin(folder / "environment.json", {"started": "2026-01-01T00:00:00+00:00"}, None)
    attempts.end(folder / "environment.json", "finished", None, None)
    (folder / "report.html").touch()
    (folder / "checkpoints" / "grpo" / "final").mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"stage": "grpo", "step": step + 1}) + "\n" for step in range(rows))
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("rows", [0, 119])
def test_a_finished_run_that_lost_steps_is_refused(pair: Plan, rows: int) -> None:
    """Its last steps would be others than those that the runs beside it come to."""
    make_runs(pair)
    finish(pair.runs[0].path, 120)
    check_made(pair)
    finish(pair.runs[1].path, rows)
    with pytest.raises(StudyError, match=rf"metrics.jsonl: has {rows} of the 120 steps that the run made; put back a"):
        check_made(pair)


def test_a_folder_that_is_no_run_is_said(pair: Plan) -> None:
    make_runs(pair)
    (pair.runs[1].path / "recipe.json").unlink()
    with pytest.raises(StudyError, match=r"anchor-seed0: has no recipe.json; put it back, or take the folder away"):
        check_made(pair)


class Late:
    """Let time be over as soon as a run is ready to be told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ready: Path) -> None:
        self._monkeypatch, self._ready = monkeypatch, ready

    def begun(self, run: PlannedRun) -> None:
        assert not self._ready.exists()

    def seen(self, going: Sequence[Attempt]) -> None:
        if self._ready.exists():
            self._monkeypatch.setattr("time.monotonic", lambda: 2e9)

    def ended(self, run: PlannedRun, code: int) -> None:
        raise AssertionError("it ends as time does")


@pytest.mark.parametrize(("code", "fails"), [(2, True), (130, False)])
def test_a_run_that_fails_as_time_runs_out_is_among_the_failed(
    pair: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fails: bool
) -> None:
    """And one that has saved itself is not."""
    make_runs(pair)
    python, ready = tmp_path / "python", tmp_path / "ready"
    python.write_text(f"#!/bin/sh\ntrap 'exit {code}' USR1\ntouch {ready}\nwhile :; do sleep 0.05; done\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(Stopped, match="--minutes") as stopped:
        conduct([pair.runs[0]], 1, 1, 1e9, Late(monkeypatch, ready))
    assert stopped.value.failed == [pair.runs[0]] * fails


def test_what_a_run_said_last_is_told(pair: Plan) -> None:
    make_runs(pair)
    assert last_words(pair.runs[0]) == "it ended without a word"
    log = pair.runs[0].path / "logs" / "study.log"
    log.parent.mkdir(exist_ok=True)
    leg = f"{BEGUN}\ngrpo 1/2\nrhythm: stopped (SIGUSR1 in step 1); no checkpoint yet; go on with\n  rhythm train\n"
    failed = f"{BEGUN}\nrhythm: stopped (failed: reward 'm' (x); gave nan); no checkpoint yet; go on with\n"
    for text, words in (
        (f"{leg}{BEGUN}\nrhythm: no weights\n", "no weights"),
        (leg + failed, "reward 'm' (x); gave nan"),
        (f"{failed}{BEGUN}\nTraceback\n", "it ended without a word"),
    ):
        log.write_text(text, encoding="utf-8")
        assert last_words(pair.runs[0]) == words


def test_threads_do_not_depend_on_what_is_left(pair: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert [share_of_cores(pair.runs, jobs) for jobs in (1, 2, 4, 99)] == [8, 4, 4, 4]
    assert [share_of_cores(pair.runs * 9, jobs) for jobs in (4, 16)] == [2, 1]
