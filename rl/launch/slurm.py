"""What Slurm's own commands are asked, and what they answer."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60
OVER = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)
GONE = ("invalid job id", "not found")


class LaunchError(ValueError):
    """Say why a job cannot be submitted, seen or cancelled, and what would do."""


@dataclass(frozen=True)
class JobState:
    """Hold what Slurm says of a job: times as it writes them, and why a pending job waits."""

    state: str
    reason: str
    nodes: str
    elapsed: str
    limit: str
    restarts: int

    @property
    def is_over(self) -> bool:
        """Say whether the job will not run again."""
        return self.state in OVER


def submit(script: Path, options: Sequence[str]) -> str:
    """Submit a script and return the job's number. Raises LaunchError with sbatch's own words."""
    said = _ask("sbatch", "--parsable", *options, str(script))
    found = re.search(r"^(\d+)(?:;.*)?$", said, re.MULTILINE)  # a site's own words may stand around it
    if found is None:
        raise LaunchError(f"sbatch said no number of a job, but {said.strip()!r}; squeue shows whether there is one")
    return found.group(1)


def look_up(job: str) -> JobState | None:
    """Return the state of a job, or of one task of an array; None where Slurm knows it no more.

    Of a whole array it is that of a task that is not over, if there is one.
    """
    try:
        said = _ask("scontrol", "show", "job", "-o", job)
    except LaunchError as error:
        if any(words in str(error).lower() for words in GONE):
            return None
        raise
    states = [_state(line) for line in said.splitlines() if line.strip()]
    return next((state for state in states if not state.is_over), states[0]) if states else None


def _state(line: str) -> JobState:
    facts: dict[str, str] = {}
    for word in line.split():
        name, _, value = word.partition("=")
        facts.setdefault(name, value)
    none = ("", "None", "(null)")
    return JobState(
        state=facts.get("JobState", "UNKNOWN"),
        reason="" if facts.get("Reason") in none else facts.get("Reason", ""),
        nodes="" if facts.get("NodeList") in none else facts.get("NodeList", ""),
        elapsed=facts.get("RunTime", ""),
        limit=facts.get("TimeLimit", ""),
        restarts=int(facts["Restarts"]) if facts.get("Restarts", "").isdigit() else 0,
    )


def cancel(job: str) -> None:
    """Cancel a job, all of an array or one task of it: its processes save within Slurm's KillWait, if they can."""
    _ask("scancel", job)


def _ask(program: str, *words: str) -> str:
    if shutil.which(program) is None:
        raise LaunchError(f"{program} is not on the PATH; Slurm's commands are on the machines that submit to it")
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise LaunchError(f"{program} did not answer within {SECONDS} seconds; is Slurm's controller up?") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise LaunchError("\n".join(line.removeprefix(f"{program}: ") for line in said.splitlines()))
    return done.stdout
