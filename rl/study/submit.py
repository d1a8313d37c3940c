"""Submit what is left of a study to Slurm: the shared runs as one job, those of the arms as another behind it."""

from collections.abc import Sequence
from dataclasses import replace

from rl.launch.jobs import RECORD, runs_to_resume, write_record
from rl.launch.launch import Launch
from rl.launch.launch import prepare as prepare_launch
from rl.launch.launch import submit as submit_launch
from rl.study.conduct import make_folder, prepare
from rl.study.plan import Plan, PlannedRun
from rl.telemetry.record import LAUNCH, has_finished, locked


def submit(plan: Plan) -> dict[str, int]:
    """Make the runs that are not there, submit what has not finished, and return each job with its number of runs.

    Raises StudyError and RunError, and LaunchError where a run's job is still there.
    """
    jobs: dict[str, int] = {}
    make_folder(plan.folder)
    with locked(plan.folder):
        prepare([*plan.shared, *plan.runs])
        for runs in (plan.shared, plan.runs):
            if any(not has_finished(run.path) for run in runs):
                launch = _launch(runs)
                if jobs:
                    behind = f"--dependency=afterok:{next(iter(jobs))}"
                    launch = replace(launch, options=[*launch.options, behind, "--kill-on-invalid-dep=yes"])
                jobs[submit_launch(launch, resume=True)] = len(launch.runs)
    return jobs


def _launch(runs: Sequence[PlannedRun]) -> Launch:
    folder = runs[0].path.parent
    if not (folder / LAUNCH / RECORD).is_file():
        write_record(folder, {"job": None, "runs": [run.path.name for run in runs]})
    left = runs_to_resume(folder, [])
    return prepare_launch({path: recipe for path, recipe in left.items() if path in {run.path for run in runs}}, folder)
