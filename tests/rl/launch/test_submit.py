"""Submitting: what sbatch says is read or refused, folders are taken whole or not at all; a script is the sbatch."""

import json
import resource
from pathlib import Path

import pytest

from rl.launch.jobs import read_record, runs_to_resume
from rl.launch.launch import prepare, runs_for, submit
from rl.launch.slurm import LaunchError
from rl.recipe import load
from rl.recipe.sections import Recipe
from rl.telemetry.record import RunError


@pytest.fixture(autouse=True)
def no_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def sbatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str) -> None:
    """Put an sbatch on the PATH that says this, and knows no job."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "says").write_text(says, encoding="utf-8")
    for name, body in {"sbatch": f"cat {folder / 'says'}", "scontrol": "echo not found >&2; exit 1"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def recipe(*changes: str) -> Recipe:
    return load("quickstart", changes)


def array(folder: Path, seeds: list[int]) -> str:
    return submit(prepare(runs_for([recipe()], seeds, folder), folder))


@pytest.mark.parametrize("says", ["4711\n", "4711;cluster\n", "welcome to 2 nodes\n4711\n", "4711\nremember to save\n"])
def test_the_number_of_a_job_is_found_among_a_sites_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str
) -> None:
    sbatch(monkeypatch, tmp_path, says)
    folder = tmp_path / "run"
    assert submit(prepare({folder: recipe()}, folder)) == "4711"
    assert read_record(folder)["job"] == "4711"


@pytest.mark.parametrize("says", ["", "hello\n", "Submitted batch job\n"])
def test_no_number_is_a_fault_and_no_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str) -> None:
    sbatch(monkeypatch, tmp_path, says)
    folder = tmp_path / "run"
    with pytest.raises(LaunchError, match="said no number of a job"):
        submit(prepare({folder: recipe()}, folder))
    assert (folder / "recipe.json").is_file() and not (folder / "launch" / "launch.json").exists()


def test_the_folder_of_an_array_is_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sbatch(monkeypatch, tmp_path, "100\n")
    folder = tmp_path / "sweep"
    assert array(folder, [0, 1]) == "100"
    before = (folder / "launch" / "launch.json").read_bytes()
    with pytest.raises(RunError, match="is there already and is never overwritten"):
        array(folder, [2, 3])
    assert (folder / "launch" / "launch.json").read_bytes() == before and len(list(folder.iterdir())) == 3
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").touch()
    with pytest.raises(RunError, match="is there already and is never overwritten"):
        array(other, [0, 1])
    assert [path.name for path in other.iterdir()] == ["mine"]


def test_an_array_that_cannot_be_made_whole_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sbatch(monkeypatch, tmp_path, "100\n")
    large = recipe("name=large", f"data.system={'x' * 100_000}")
    folder = tmp_path / "sweep"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(RunError, match="large-seed0: cannot write a run there: File too large"):
            submit(prepare(runs_for([recipe(), large], [], folder), folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not folder.exists() or not list(folder.iterdir())
    with pytest.raises(ValueError, match=r"cannot write a run there: .*; give --run-dir another folder"):
        array(Path("/proc/rhythm"), [0, 1])


def test_gpus_of_a_type_want_a_number_and_nought_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config" / "rhythm" / "slurm.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("gpu_type: h200\n", encoding="utf-8")
    folder = tmp_path / "run"
    with pytest.raises(LaunchError, match=r"slurm.yaml: gpu_type: of how many GPUs\?"):
        prepare({folder: recipe()}, folder)
    assert "--gpus-per-node" not in prepare({folder: recipe("cluster.slurm.gpus=0")}, folder).script
    assert "--gpus-per-node=h200:2" in prepare({folder: recipe("cluster.slurm.gpus=2")}, folder).script


def test_a_damaged_run_is_not_submitted_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sbatch(monkeypatch, tmp_path, "100\n")
    folder = tmp_path / "run"
    submit(prepare({folder: recipe()}, folder))
    assert list(runs_to_resume(folder, [])) == [folder]
    whole = (folder / "environment.json").read_text(encoding="utf-8")
    (folder / "environment.json").write_text(whole[:10], encoding="utf-8")
    with pytest.raises(RunError, match=r"environment.json is no JSON"):
        runs_to_resume(folder, [])
    (folder / "environment.json").write_text(whole, encoding="utf-8")
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1}) + "\nnonsense\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"metrics.jsonl:2: not valid JSON: .*; remove the line"):
        runs_to_resume(folder, [])
