"""Where a recipe runs: processes, ZeRO, precision, vLLM, Slurm. Field docstrings are their documentation."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from rl.recipe.section import Positive, Section, matching

# One word for Slurm: no space, quote or control character, and nothing that a shell would read.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]  # 60 is "60"
Word = Annotated[
    Text, matching(r"\w[\w.,:+@/=-]{0,199}", "one word of letters, digits and . , : + @ / = - _, as Slurm knows it")
]
Line = Annotated[
    str,
    matching(r"--[a-z][a-z-]*(=[^\x00-\x1f\x7f]{1,300})?", "an option of sbatch in one line, such as --exclude=node7"),
]


TIME = r"(?:(?P<days>\d{1,4})-(?P<of_day>\d\d?(?::[0-5]\d){0,2})|(?P<plain>\d{1,6}(?::[0-5]\d){0,2}))"
Time = Annotated[
    Text, matching(TIME, "minutes, minutes:seconds, hours:minutes:seconds or days-hours, such as 8:00:00 or 1-12")
]


def seconds_of(time: str) -> int:
    """Return the seconds of a time limit as Slurm reads it: 90 and 90:00 are minutes, 1-12 a day and 12 hours."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    hours, minutes, seconds = parts if len(parts) == 3 else [0, *parts, 0][:3]
    return hours * 3600 + minutes * 60 + seconds


class Vllm(Section):
    """Generate with vLLM in place of transformers. `trl:` takes the finer settings, such as vllm_max_model_length."""

    mode: Literal["off", "colocate", "server"] = "off"
    """`colocate`: in the training processes, on their GPUs; `server`: on nodes of its own, which `rhythm launch` starts
    and watches."""
    nodes: Literal[1] = 1
    """Nodes of the server, beside `cluster.nodes`; TRL speaks to one."""
    tensor_parallel: Positive = 1
    """GPUs that one copy of the model is spread over."""
    data_parallel: Positive = 1
    """Copies of the model that a server runs."""
    memory_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of a GPU's memory that vLLM takes: in colocate beside training; a server can have 0.9."""
    url: Annotated[str, matching(r"https?://[^\s/]+(/\S*)?", "an address such as http://node7:8000")] | None = None
    """Address of a server that runs already, such as http://node7:8000; by default rhythm launch starts one."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """Port that a server of ours listens on."""
    startup_minutes: Positive = 20
    """How long a server may take until it answers, before the job ends."""


# Options of sbatch that the batch script stands on, or that have a key of their own.
OWN_LINES = (
    "array",
    "nodes",
    "ntasks",
    "ntasks-per-node",
    "output",
    "error",
    "open-mode",
    "requeue",
    "no-requeue",
    "signal",
    "wrap",
    "chdir",
    "job-name",
    "time",
    "partition",
    "account",
    "qos",
    "mem",
)


class Slurm(Section):
    """What `rhythm launch` asks Slurm for. Keys that are left out come from the user's own defaults, then Slurm's."""

    partition: Word | None = None
    """Partition that the job waits in."""
    account: Word | None = None
    """Account that the time is charged to."""
    qos: Word | None = None
    """Quality of service."""
    time: Time | None = None
    """Time limit of one attempt: minutes, hours:minutes:seconds or days-hours, such as 8:00:00 or 1-12."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of a node; by default none, or with gpu_type one for each process."""
    gpu_type: Word | None = None
    """Type of the GPUs, such as h200."""
    cpus: Positive | None = None
    """CPU cores of a process."""
    memory: Annotated[Text, matching(r"\d+[KMGT]?", "a number with K, M, G or T, such as 500G")] | None = None
    """Memory of a node, such as 500G; 0 takes all of it."""
    container: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Container image for pyxis (`srun --container-image`)."""
    mounts: list[Annotated[str, Field(max_length=500), matching(r"(?u:[^:]+(:[^:]+){1,2})", "HOST:CONTAINER")]] = []
    """Folders that the container sees, as HOST:CONTAINER; that of the run is always one."""
    setup: list[Annotated[str, Field(min_length=1, max_length=1000)]] = []
    """Shell lines before the run starts, such as `module load cuda`. They are yours, and run as they are."""
    lines: list[Line] = []
    """Further options of sbatch, such as --exclude=node7; each becomes an #SBATCH line."""
    attempts: Positive = 10
    """Most attempts of one job: it is requeued at its time limit, when it is preempted, and after a crash."""
    signal_seconds: Annotated[int, Field(ge=10, le=65535)] = 120
    """How long before the time limit the run is asked to save and stop; Slurm itself allows at most 65535."""

    @model_validator(mode="after")
    def _leaves_ours_alone(self) -> "Slurm":
        for line in self.lines:
            option = line.removeprefix("--").partition("=")[0]
            if any(own.startswith(option) for own in OWN_LINES):  # sbatch knows an option by its beginning too
                raise ValueError(f"lines: {line} is decided by rhythm, or has a key of its own; leave it out")
        return self

    @model_validator(mode="after")
    def _is_asked_in_time(self) -> "Slurm":
        if self.time is not None and 0 < seconds_of(self.time) <= self.signal_seconds:
            raise ValueError(
                f"signal_seconds: {self.signal_seconds} seconds before the end of {self.time} is before the start; "
                "lower it, or give more time"
            )
        return self


class Cluster(Section):
    """Where and how wide the run runs. Nothing here changes what is computed, but for rounding and sampling."""

    nodes: Positive = 1
    """Nodes that train."""
    processes: Positive | None = None
    """Training processes of a node, one a GPU; by default as many as torchrun, accelerate or srun start, alone one."""
    zero: Literal[0, 1, 2, 3] = 0
    """What DeepSpeed shares out over the processes: 1 optimizer state, 2 gradients too, 3 weights too; 0: DDP, where
    every process holds all."""
    offload: Literal["none", "optimizer", "all"] = "none"
    """What waits in CPU memory: the optimizer state (zero 1 to 3), or weights too (zero 3)."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type that the passes compute in; `model.dtype` is the weights'."""
    vllm: Vllm = Vllm()
    slurm: Slurm = Slurm()

    @property
    def world(self) -> int | None:
        """Count all training processes, where the recipe says how many."""
        return None if self.processes is None else self.nodes * self.processes

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Cluster":
        if self.offload != "none" and self.zero == 0:
            least = "zero 1, 2 or 3; write zero: 2" if self.offload == "optimizer" else "zero: 3; write that"
            raise ValueError(f"offload: needs {least}, or leave it out")
        if self.offload == "all" and self.zero != 3:
            raise ValueError("offload: weights are shared out, and can wait elsewhere, under zero: 3 alone")
        if self.slurm.gpu_type is not None and self.processes is None and self.slurm.gpus is None:
            raise ValueError("slurm.gpu_type: of how many GPUs? write processes, or slurm.gpus")
        if self.vllm.url is not None and self.vllm.mode != "server":
            raise ValueError("vllm.url: has no effect without vllm.mode: server; leave it out")
        return self


class Guard(Section):
    """What a run does about steps that never end, and about gradients that are none."""

    step_minutes: Annotated[float, Field(ge=0)] = 120.0
    """Longest time without a finished step, or a saved checkpoint, before every process writes down where it stands and
    the run ends; 0: never."""
    skips: Annotated[int, Field(ge=0)] = 5
    """Steps in a row that may be skipped because their gradient is NaN, infinite or above skip_above; one more ends the
    run, with a checkpoint of the weights before them."""
    skip_above: Annotated[float, Field(ge=0)] = 0.0
    """Norm of the gradient above which a step is skipped; 0: only what is no number is."""
