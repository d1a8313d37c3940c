"""A real Slurm on this machine: one controller and two nodes of two cores, with munge, in a folder of its own.

PYTHONPATH=tests python -m reference.slurm FOLDER   # start one by hand: prints what to export; Ctrl-C stops it
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reference.command import overrides, rhythm

from rl.telemetry.jsonl import read_rows

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol")
KILL_WAIT = 10
CONF = """\
ClusterName=rhythm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1,sched_interval=1
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ReturnToService=2
KillWait={kill_wait}
OverTimeLimit=0
JobRequeue=1
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=8000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing() -> list[str]:
    """Return the programs of Slurm that are not installed here."""
    paths = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=paths) is None]


@dataclass
class Slurm:
    """A Slurm that runs, and how to ask it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return what a command of Slurm needs to find it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        tests = str(Path(__file__).resolve().parents[1])  # where recipes' own rewards are
        return {**inherited, "SLURM_CONF": str(self.folder / "slurm.conf"), "PYTHONPATH": tests}

    def run(self, *words: str | Path) -> str:
        """Run a command of Slurm and return what it says."""
        done = subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def job(self, job: str) -> dict[str, str]:
        """Return what Slurm knows of a job."""
        said = self.run("scontrol", "show", "job", "-o", job)
        return dict(pair.partition("=")[::2] for pair in said.split() if "=" in pair)

    def state(self, job: str) -> str:
        """Return a job's state, such as RUNNING."""
        return self.job(job)["JobState"]

    def wait(self, job: str, *states: str, seconds: float = 180.0) -> str:
        """Wait until a job is in one of the states, and return which."""
        deadline = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < deadline, f"job {job} is {state}, not {states}: {self.job(job)}"
            time.sleep(0.1)
        return state

    def wait_until_idle(self, seconds: float = 30.0) -> None:
        """Wait until no node works on anything."""
        deadline = time.monotonic() + seconds
        while (states := set(self.run("sinfo", "-h", "-o", "%T").split())) != {"idle"}:
            assert time.monotonic() < deadline, states
            time.sleep(0.05)


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start a Slurm in a folder, and stop it with all that it runs."""
    _write(folder)
    cluster, daemons = Slurm(folder), []
    path = {**cluster.environment, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}

    def start(*words: str) -> None:
        log = (folder / f"{words[0]}-{len(daemons)}.out").open("w")
        daemons.append(subprocess.Popen(words, env=path, stdout=log, stderr=log, start_new_session=True))

    try:
        munge = folder / "munge"
        options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        start("munged", "--foreground", "--force", *(f"--{name}={munge / file}" for name, file in options.items()))
        _until((munge / "socket").exists, "munged", folder)
        start("slurmctld", "-D", "-i")
        for node in ("n1", "n2"):
            start("slurmd", "-D", "-N", node)
        _until(lambda: _answers(cluster), "slurmctld", folder)
        yield cluster
    finally:
        subprocess.run(["scancel", "--user=root", "--signal=KILL"], env=path, check=False, capture_output=True)
        _stop(daemons)
        _end_leftovers(folder)


def _write(folder: Path) -> None:
    for name in ("munge", "state", "spool.n1", "spool.n2"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o700)
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o600)
    ports = _free_ports(3)
    settings = {"host": socket.gethostname().split(".")[0], "user": "root", "folder": folder, "kill_wait": KILL_WAIT}
    settings |= dict(zip(("port", "first", "second"), ports, strict=True))
    (folder / "slurm.conf").write_text(CONF.format(**settings))


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _answers(cluster: Slurm) -> bool:
    done = subprocess.run(
        ["sinfo", "-h", "-o", "%T"], env=cluster.environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode == 0 and set(done.stdout.split()) == {"idle"}


def _until(ready, what: str, folder: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            logs = "".join(f"{log.name}:\n{log.read_text()[-2000:]}\n" for log in folder.glob("*.[ol]*"))
            raise AssertionError(f"{what} did not start:\n{logs}")
        time.sleep(0.1)


def _stop(daemons: Sequence[subprocess.Popen]) -> None:
    for daemon in reversed(daemons):
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _end_leftovers(folder: Path) -> None:
    """Kill step daemons that outlive their slurmd, and what they run."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"SLURM_CONF={folder}/slurm.conf".encode() in environment and entry.name != str(os.getpid()):
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue


def launch(cluster: Slurm, path: Path, *changes: str) -> str:
    """Launch the quickstart with changes in path, and return the job's number."""
    done = rhythm("launch", "quickstart", "--run-dir", path, *overrides(*changes), **cluster.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((path / "launch" / "launch.json").read_text(encoding="utf-8"))["job"]


def log_of(path: Path, attempt: int = 1) -> str:
    """Return what an attempt of a run has said so far."""
    return (path / "logs" / f"attempt-{attempt}.log").read_text(encoding="utf-8")


def wait_for_rows(cluster: Slurm, job: str, path: Path, count: int) -> None:
    """Wait until a job's run has written count rows."""
    deadline = time.monotonic() + 180
    while len(read_rows(path / "metrics.jsonl")) < count:
        alive = cluster.state(job) in ("PENDING", "RUNNING")
        assert time.monotonic() < deadline and alive, (cluster.job(job), log_of(path))
        time.sleep(0.05)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    with slurm(Path(sys.argv[1]).resolve()) as running:
        print(f"export SLURM_CONF={running.folder}/slurm.conf", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
