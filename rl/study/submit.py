"""Submit what is left of a study to Slurm: the shared runs as one job, those of the arms as another behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rl.launch.jobs import RECORD, read_record, runs_to_resume, write_record
from rl.launch.launch import Launch
from rl.launch.launch import prepare as prepare_launch
from rl.launch.launch import submit as submit_launch
from rl.launch.slurm import LaunchError
from rl.study.conduct import check_made, make_folder, make_runs
from rl.study.plan import Plan, PlannedRun, StudyError
from rl.telemetry.record import LAUNCH, is_over, locked


def submit(plan: Plan, whole: Plan) -> dict[str, int]:
    """Make the runs that are not there, submit what has not finished, and return each job with its number of runs.

    `whole` is the study that the plan is a part of. Raises StudyError and RunError, and LaunchError where a run's job
    is still there.
    """
    jobs: dict[str, int] = {}
    make_folder(plan.folder)
    with locked(plan.folder):
        check_made(whole)
        make_runs(plan)
        for runs in (plan.shared, plan.runs):
            if any(not is_over(run.path) for run in runs):
                launch = launch_of(runs)
                if jobs:
                    behind = f"--dependency=afterok:{next(iter(jobs))}"
                    launch = replace(launch, options=[*launch.options, behind, "--kill-on-invalid-dep=yes"])
                try:
                    job = submit_launch(launch, resume=True)
                except LaunchError as error:
                    raise _unfinished(error, jobs) from None
                jobs[job] = len(launch.runs)
    return jobs


def _unfinished(error: LaunchError, jobs: Mapping[str, int]) -> StudyError | LaunchError:
    """Return what to say where the arms could not be submitted: alone, as the error says, they would not wait."""
    if not jobs:
        return error
    return StudyError(
        f"{str(error).splitlines()[0]}; job {next(iter(jobs))} trains what the arms share: once it is over, give the "
        "same command again"
    )


def launch_of(runs: Sequence[PlannedRun]) -> Launch:
    """Return a job of those runs that are not over; runs of earlier jobs stay in the folder's record."""
    folder, wanted = runs[0].path.parent, {run.path for run in runs if not is_over(run.path)}
    there = (folder / LAUNCH / RECORD).is_file()
    record = read_record(folder) if there else {"job": None, "runs": []}
    names = dict.fromkeys([*record["runs"], *(run.path.name for run in runs)])
    write_record(folder, {**record, "runs": list(names)})
    left = runs_to_resume(folder, [])
    return prepare_launch({path: recipe for path, recipe in left.items() if path in wanted}, folder)
