"""The batch script of a run, or of an array of runs: slurm/train.sbatch.j2, filled in from a recipe."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rl.launch.slurm import LaunchError
from rl.recipe.cluster_sections import Slurm
from rl.recipe.load import shipped
from rl.recipe.sections import Recipe

TEMPLATE = "train.sbatch.j2"
SAVE_SECONDS = 60  # that training may take to end once its server has died


def render(recipe: Recipe, slurm: Slurm, name: str, runs: Sequence[Path]) -> str:
    """Return the script for runs of a recipe, in folders that exist by then; `slurm` has the user's defaults in it.

    What a shell reads is quoted, what sbatch reads was checked by the recipe. Raises LaunchError for a folder that
    cannot be written in a script.
    """
    cluster = recipe.cluster
    for run in runs:
        if not str(run).isprintable():
            raise LaunchError(f"{str(run)!r}: a run's folder should have no newline or control character in its name")
    environment = Environment(
        loader=FileSystemLoader(shipped("slurm")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    serves = cluster.vllm.mode == "server" and cluster.vllm.url is None
    processes = processes_per_node(recipe, slurm)
    return environment.get_template(TEMPLATE).render(
        name=re.sub(r"[^\w.+=-]", "-", name, flags=re.ASCII),
        nodes=cluster.nodes,
        serve_nodes=cluster.vllm.nodes if serves else 0,
        processes=processes,
        gpus=slurm.gpus if slurm.gpus is not None else processes if slurm.gpu_type else None,
        gpu_type=slurm.gpu_type,
        cpus=slurm.cpus,
        options={
            "partition": slurm.partition,
            "account": slurm.account,
            "qos": slurm.qos,
            "time": slurm.time,
            "mem": slurm.memory,
        },
        lines=slurm.lines,
        runs=[str(run.absolute()) for run in runs],
        setup=slurm.setup,
        container=slurm.container,
        mounts="".join(f",{mount}" for mount in slurm.mounts),
        serve=shlex.join(_serve(recipe, slurm)) if serves else "",
        port=cluster.vllm.port,
        startup_minutes=cluster.vllm.startup_minutes,
        attempts=slurm.attempts,
        save_seconds=SAVE_SECONDS,
        signal_seconds=slurm.signal_seconds,
        rhythm="rhythm" if slurm.container else shlex.join([sys.executable, "-P", "-m", "rl"]),
    )


def processes_per_node(recipe: Recipe, slurm: Slurm) -> int:
    """Return how many processes train on a node: as the recipe says, else one for each GPU, else one."""
    return recipe.cluster.processes or slurm.gpus or 1


def _serve(recipe: Recipe, slurm: Slurm) -> list[str]:
    """Return vLLM's command, with what TRL asks of a server (its guide to vLLM's server mode)."""
    vllm, model = recipe.cluster.vllm, recipe.model
    command = ["vllm"] if slurm.container else [str(Path(sys.executable).with_name("vllm"))]
    command += ["serve", model.name, "--host", "0.0.0.0", "--port", str(vllm.port)]
    command += ["--revision", model.revision] if model.revision else []
    return [
        *command,
        f"--tensor-parallel-size={vllm.tensor_parallel}",
        f"--data-parallel-size={vllm.data_parallel}",
        f"--gpu-memory-utilization={vllm.memory_share:g}",
        f"--dtype={recipe.cluster.precision if model.dtype == 'float32' else model.dtype}",
        '--weight-transfer-config={"backend": "nccl"}',
        "--logprobs-mode=processed_logprobs",
        "--max-logprobs=-1",
        "--enable-scale-out",
    ]
