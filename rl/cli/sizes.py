"""The command that says what a recipe needs: plan."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.app import Overlays, Overrides, RecipeName, fail, patient_console

if TYPE_CHECKING:
    from rl.sizing.gpus import Gpu
    from rl.sizing.plan import StagePlan


def plan(
    name: RecipeName,
    gpu: Annotated[str, typer.Option("--gpu", metavar="NAME", help="Kind of GPU, such as h100 or h200.")] = "h100",
    nodes: Annotated[
        int | None, typer.Option("--nodes", metavar="N", min=1, help="Nodes; by default cluster.nodes.")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", metavar="N", min=1, help="GPUs of a node; by default cluster.processes, or 1."),
    ] = None,
    prompt: Annotated[
        int, typer.Option("--prompt", metavar="N", min=1, max=1_000_000, help="Tokens of the longest prompt.")
    ] = 512,
    overrides: Overrides = None,
    overlays: Overlays = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say how much memory RECIPE needs on a GPU, by part, and how long a step takes, for every way to share it out.

    Memory is that of the longest sequences that the recipe allows; times are rough, from data sheets.
    """
    from rl.recipe import load
    from rl.sizing.gpus import GPUS

    recipe = load(name, overrides or [], overlays or [])
    if gpu.lower() not in GPUS:
        fail(f"--gpu {gpu}: not known; one of {', '.join(GPUS)}")
    console = patient_console()
    with console.status("tracing the model"):
        from rl.sizing.plan import advise, plan_stage
        from rl.sizing.trace import Traced
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
        traced = Traced(recipe)
        kind, num_nodes = GPUS[gpu.lower()], nodes or recipe.cluster.nodes
        each = gpus or recipe.cluster.processes or 1
        try:
            plans = [plan_stage(recipe, stage, traced, kind, num_nodes, each, prompt) for stage in recipe.stages]
        except ValueError as error:
            fail(f"{name}: {error}")
    advice = advise(plans)
    if as_json:
        typer.echo(json.dumps([_as_data(one, advice) for one in plans], indent=2))
        return
    numbers = traced.numbers()
    typer.echo(
        f"{recipe.model.name}: {numbers.parameters / 1e6:,.1f} M parameters, {numbers.trained / 1e6:,.1f} M trained; "
        f"{num_nodes} x {each} {kind.name} of {kind.memory_gib:g} GiB"
    )
    for one in plans:
        _show(one, advice)
    typer.echo(f"\n{_advice(plans, advice, kind, num_nodes * each)}")


PARTS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "kv_cache",
    "gathered",
    "reference",
    "critic",
    "vllm",
)


def _show(one: "StagePlan", advice: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = [part for part in PARTS if any(getattr(option.parts, part) for option in one.options)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    times = "once" if one.accumulation == 1 else f"{one.accumulation} times"
    typer.echo(
        f"\nstage {one.stage}: each GPU takes {one.micro_batch} sequences of {one.load.tokens} tokens at once, "
        f"{times} a step"
    )
    unit, bytes_of_unit = ("GiB", 2**30) if max(option.parts.peak for option in one.options) > 2**29 else ("MiB", 2**20)
    columns = ["zero", "offload", *(part.replace("_", " ") for part in shown), f"peak {unit}", "fits", "s a step"]
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < 2 else "right", no_wrap=True)
    for way, option in enumerate(one.options):
        figures = [_size(getattr(option.parts, part) / bytes_of_unit) for part in (*shown, "peak")]
        mark = "->" if way == advice else "  "
        row = [f"{mark} {option.zero}", option.offload, *figures]
        table.add_row(*row, "yes" if option.fits else "no", _seconds(option.step_seconds))
    Console(width=140).print(table, highlight=False)


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.01 else "< 0.01"


def _size(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}" if value >= 0.01 or not value else "< 0.01"


def _advice(plans: "Sequence[StagePlan]", advice: int | None, gpu: "Gpu", world: int) -> str:
    if advice is not None:
        from rl.sizing.plan import recommend

        return f"take {recommend(plans, advice, gpu, world)}; a step is {_phases(plans, advice)}"
    tight = next((plan for plan in plans if not any(option.fits for option in plan.options)), None)
    if tight is None:
        return "no way fits all stages; run them as recipes of their own, each from the policy of the one before"
    least = min(tight.options, key=lambda option: option.parts.peak)
    largest = max(PARTS, key=lambda part: getattr(least.parts, part))
    remedies = {
        "activations": "lower micro_batch, or set model.gradient_checkpointing: true",
        "logits": "lower micro_batch",
        "kv_cache": "lower prompts_per_step, or generate with cluster.vllm",
        "vllm": "lower cluster.vllm.memory_share, or serve it from nodes of its own",
    }
    remedy = remedies.get(largest, "take more GPUs, or train adapters (model.lora)")
    return f"stage {tight.stage} fits in no way; the most is taken by {largest.replace('_', ' ')}: {remedy}"


def _phases(plans: "Sequence[StagePlan]", advice: int) -> str:
    """Return what a step of the last stage takes, in words."""
    seconds = plans[-1].options[advice].seconds
    known = [f"{phase} {spent:.2g} s" for phase, spent in seconds.items() if spent >= 0.005]
    return f"{', '.join(known)} in {plans[-1].stage}" if known else "milliseconds"


def _as_data(one: "StagePlan", advice: int | None) -> dict:
    options = [
        {
            "zero": option.zero,
            "offload": option.offload,
            "gib": {**option.parts.gib(), "peak": option.parts.peak / 2**30},
            "deepspeed_states_gib": option.deepspeed_gib,
            "seconds": option.seconds,
            "fits": option.fits,
            "advised": way == advice,
        }
        for way, option in enumerate(one.options)
    ]
    return {"stage": one.stage, "micro_batch": one.micro_batch, "options": options}
