"""The batch script: what is asked of Slurm, and that nothing hostile gets past its quotes."""

import subprocess
from pathlib import Path

import pytest

from rl.launch.defaults import VARIABLE, with_defaults
from rl.launch.launch import Launch, prepare, read_seeds, runs_for
from rl.launch.script import render
from rl.launch.slurm import LaunchError
from rl.recipe import load
from rl.recipe.cluster_sections import Slurm, seconds_of
from rl.recipe.faults import RecipeError

HOSTILE = [
    "a b",
    "it's",
    '"',
    "$(touch owned)",
    "`touch owned`",
    "${HOME}",
    "; touch owned",
    "\\",
    "*",
    "#",
    "%j",
    "--x",
]


def job_of(recipes: list, seeds: list[int], folder: Path) -> Launch:
    return prepare(runs_for(recipes, seeds, folder), folder)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_stays_a_name(tmp_path: Path, name: str) -> None:
    recipe = load("quickstart")
    script = render(recipe, Slurm(container=name, mounts=[f"/{name}:/x"]), name, [tmp_path / name])
    (tmp_path / "script").write_text(script, encoding="utf-8")
    (tmp_path / name / "logs").mkdir(parents=True)
    # srun and scontrol are replaced by what writes down its words.
    for program in ("srun", "scontrol"):
        (tmp_path / program).write_text('#!/bin/bash\nprintf "%s\\n" "$@" >"$WORDS"\n', encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "n1", "HOME": "/"}
    environment |= {"WORDS": str(tmp_path / "words"), "PWD": str(tmp_path)}
    done = subprocess.run(["bash", "script"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0 and not (tmp_path / "owned").exists(), done.stderr
    words = (tmp_path / "words").read_text(encoding="utf-8").splitlines()
    assert words[-2:] == ["--run-dir", str(tmp_path / name)]
    assert f"--container-image={name}" in words
    assert f"--container-mounts={tmp_path / name}:{tmp_path / name},/{name}:/x" in words
    directives = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert not any("owned" in line and "job-name" not in line for line in directives)


@pytest.mark.parametrize(
    "setting",
    [
        'partition="gpu; rm"',
        'account="$(id)"',
        'qos="a b"',
        'time="soon"',
        'time="1:00:00 --wrap=x"',
        'memory="lots"',
        'gpu_type="h200\\n#SBATCH --wrap=x"',
        'lines=["--exclude=n1\\n#SBATCH --wrap=x"]',
        'lines=["rm -rf"]',
        'lines=["--output=/dev/null"]',
        'lines=["--out=/dev/null"]',
        'lines=["--ntasks-per-node=1"]',
        "attempts=0",
    ],
)
def test_what_sbatch_would_read_otherwise_is_refused(setting: str) -> None:
    with pytest.raises(RecipeError, match=r"cluster\.slurm"):
        load("quickstart", [f"cluster.slurm.{setting}"])


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("0", 0), ("90", 5400), ("90:30", 5430), ("8:00:00", 28800), ("1-12", 129600), ("2-01:30", 178200)],
)
def test_time_is_read_as_slurm_reads_it(time: str, seconds: int) -> None:
    assert seconds_of(time) == seconds
    assert Slurm(time=time, signal_seconds=10).time == time


def test_a_run_is_asked_to_stop_after_it_began() -> None:
    assert load("quickstart", ["cluster.slurm.time=3"]).cluster.slurm.time == "3"
    with pytest.raises(RecipeError, match="120 seconds before the end of 2 is before the start"):
        load("quickstart", ["cluster.slurm.time=2"])


def test_what_a_recipe_asks_for_is_asked_of_slurm(tmp_path: Path) -> None:
    changes = ["cluster.nodes=2", "cluster.processes=4", "cluster.slurm.gpus=4", "cluster.slurm.gpu_type=h200"]
    changes += ["cluster.slurm.time=90", "cluster.slurm.cpus=8", "cluster.slurm.lines=['--exclude=n7']"]
    script = job_of([load("quickstart", changes)], [], tmp_path / "run").script
    for line in ("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=h200:4", "--time=90", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in script
    assert "#SBATCH --exclude=n7\n" in script and "#SBATCH --array" not in script
    assert "--nodes=2 --ntasks=8 --ntasks-per-node=4" in script
    assert not (tmp_path / "run").exists()


def test_a_server_of_vllm_has_nodes_of_its_own(tmp_path: Path) -> None:
    changes = ["cluster.nodes=2", "cluster.processes=4", "cluster.vllm={mode: server, nodes: 1, memory_share: 0.9}"]
    script = job_of([load("quickstart", changes)], [], tmp_path / "run").script
    assert "#SBATCH --nodes=3\n" in script and "vllm serve tiny --host 0.0.0.0 --port 8000" in script
    assert "RHYTHM_VLLM_URL" in script and 'wait -n "$server" "$trainer"' in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_array_has_a_folder_for_every_run(tmp_path: Path) -> None:
    job = job_of([load("quickstart"), load("quickstart-ppo")], [0, 1], tmp_path / "runs")
    names = [path.name for path in job.runs]
    assert names == ["quickstart-seed0", "quickstart-seed1", "quickstart-ppo-seed0", "quickstart-ppo-seed1"]
    assert [recipe.seed for recipe in job.runs.values()] == [0, 1, 0, 1]
    assert "#SBATCH --array=0-3\n" in job.script
    with pytest.raises(LaunchError, match="would be two runs"):
        job_of([load("quickstart"), load("quickstart")], [], tmp_path / "runs")
    with pytest.raises(LaunchError, match="different machines"):
        job_of([load("quickstart"), load("quickstart-ppo", ["cluster.nodes=2"])], [], tmp_path / "runs")
    with pytest.raises(RecipeError, match="cannot be shared by 3 processes"):
        job_of([load("quickstart", ["cluster.slurm.gpus=3"])], [], tmp_path / "runs")


@pytest.mark.parametrize(("text", "seeds"), [("0-2", [0, 1, 2]), ("7", [7]), ("0, 5,1-2", [0, 5, 1, 2])])
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "2-1", "1,1", "0-", "0-99999"])
def test_what_names_no_seeds_is_said(text: str) -> None:
    with pytest.raises(LaunchError, match=r"--array"):
        read_seeds(text)


def test_a_users_defaults_fill_what_a_recipe_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "slurm.yaml"
    file.write_text("account: mine\npartition: slow\nattempts: 3\n", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(file))
    found = with_defaults(Slurm(partition="gpu"))
    assert (found.account, found.partition, found.attempts, found.qos) == ("mine", "gpu", 3, None)
    for text, said in (
        ("acount: x\ngpus: -1", r"slurm.yaml: acount: unknown key; did you mean account\?\n.*gpus: should be"),
        ("partition: a b", "slurm.yaml: partition: should be one word"),
        ('lines: ["--nodes=3"]', "--nodes=3 is decided by rhythm"),
        ("account: [", r"slurm.yaml:1: not valid YAML"),
        ("- a", "should be keys and values"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises((LaunchError, RecipeError), match=said):
            with_defaults(Slurm())
    file.write_text("time: 1", encoding="utf-8")
    assert with_defaults(Slurm(signal_seconds=10)).time == "1"
    with pytest.raises(RecipeError, match=r"120 seconds before the end of 1 .*with the recipe's cluster.slurm"):
        with_defaults(Slurm())
    file.write_text("gpu_type: h200", encoding="utf-8")
    with pytest.raises(LaunchError, match="of how many GPUs"):
        job_of([load("quickstart")], [], tmp_path / "run")
    file.write_text("", encoding="utf-8")
    assert with_defaults(Slurm()) == Slurm()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(LaunchError, match="no such file"):
        with_defaults(Slurm())
