"""Rows survive being cut off, and a resumed run drops only what it writes again."""

import json
from pathlib import Path

import pytest

from rl.telemetry.jsonl import JsonLines, keep_rows, read_rows, write_atomically
from rl.telemetry.record import RunDirectory, RunError, check_new

RECIPE = {"name": "r", "seed": 0, "model": {"name": "tiny"}}


def test_rows_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    writer = JsonLines(tmp_path / "m.jsonl")
    writer.write({"step": 1})
    assert read_rows(tmp_path / "m.jsonl") == [{"step": 1}]
    writer.write({"step": 2}, {"step": 3, "text": "\u2028<é>"})
    assert len(read_rows(tmp_path / "m.jsonl")) == 3
    with pytest.raises(ValueError):
        writer.write({"loss": float("nan")})


def test_a_torn_last_line_is_no_row_and_goes_before_more_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"stage": "a", "step": 1}\n{"stage": "a", "st', encoding="utf-8")
    assert read_rows(path) == [{"stage": "a", "step": 1}]
    keep_rows(path, lambda row: True)
    writer = JsonLines(path)
    writer.write({"stage": "a", "step": 2})
    assert [row["step"] for row in read_rows(path)] == [1, 2]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"m.jsonl:2: not valid JSON"):
        read_rows(path)
    assert read_rows(tmp_path / "none.jsonl") == []


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_directory_is_never_overwritten(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", RECIPE, {}).close()
    with pytest.raises(RunError, match="is there already and is never overwritten; --resume goes on with it"):
        RunDirectory.create(tmp_path / "run", RECIPE, {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(RunError, match="it is no run; give --run-dir another folder"):
        check_new(tmp_path / "other")
    with pytest.raises(RunError, match="is a file"):
        check_new(tmp_path / "other" / "thesis.tex")
    check_new(tmp_path / "new")


def test_an_unwritable_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write a run there: Not a directory; give --run-dir another folder"):
        RunDirectory.create(tmp_path / "file" / "run", RECIPE, {})


def test_resuming_needs_the_same_recipe(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", RECIPE, {"started": "then"}).close()
    changed = {**RECIPE, "seed": 1, "model": {"name": "other"}}
    with pytest.raises(RunError, match=r"was started with another recipe \(model.name, seed\)"):
        RunDirectory.resume(tmp_path / "run", changed, {})
    RunDirectory.resume(tmp_path / "run", RECIPE, {"started": "now"}).close()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert (environment["started"], environment["attempts"]) == ("then", [{"started": "now"}])


def test_rewinding_drops_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", RECIPE, {})
    for stage, step in [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]:
        run.metrics.write({"stage": stage, "step": step})
    assert run.rewind(["a"], "b", 2) == 0
    run.metrics.write({"stage": "b", "step": 3, "again": True})
    rows = read_rows(run.metrics.path)
    assert [(row["stage"], row["step"]) for row in rows] == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]
    assert rows[-1]["again"]
    with run.metrics.path.open("rb+") as file:
        file.truncate(run.metrics.path.stat().st_size - 3)
    assert run.rewind(["a"], "b", 3) == 1  # a step that a checkpoint stands behind is missing


def test_a_run_may_go_on_with_other_wishes_of_slurm(tmp_path: Path) -> None:
    recipe = {**RECIPE, "cluster": {"zero": 2, "slurm": {"time": "1:00:00"}}}
    RunDirectory.create(tmp_path / "run", recipe, {"started": "then"}).close()
    longer = {**RECIPE, "cluster": {"zero": 2, "slurm": {"time": "8:00:00"}}}
    RunDirectory.resume(tmp_path / "run", longer, {"started": "now"}).close()
    with pytest.raises(RunError, match=r"another recipe \(cluster.zero\)"):
        RunDirectory.resume(tmp_path / "run", {**RECIPE, "cluster": {"zero": 3, "slurm": {}}}, {})
