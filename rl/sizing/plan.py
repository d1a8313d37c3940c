"""The plan of a recipe: for each stage and each way to share it out, memory by part, seconds by phase, and advice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rl.recipe.sections import Recipe, Stage
from rl.recipe.trainer_sections import Grpo, Online, Ppo, Sft
from rl.sizing.gpus import USABLE, Gpu
from rl.sizing.memory import Model, Parts, fused_head, generation, states
from rl.sizing.pace import Load, phases
from rl.sizing.trace import Traced

# Of a weight whose Adam runs on the CPU: float32 and back over PCIe at 12 GB/s, 1e9 weights a second.
SECONDS_ON_CPU = 8.0 / 12e9 + 1.0 / 1e9
NEAR, NEAR_SECONDS = 1.05, 0.01  # times the fastest, and beside it: estimates are no finer
Way = tuple[Literal[0, 1, 2, 3], Literal["none", "optimizer", "all"]]
WAYS: tuple[Way, ...] = ((0, "none"), (1, "none"), (2, "none"), (3, "none"), (2, "optimizer"), (3, "all"))


@dataclass(frozen=True)
class Option:
    """Hold one way to share a stage out: its memory on one GPU, and what a step takes."""

    zero: int
    offload: str
    parts: Parts
    seconds: dict[str, float]
    fits: bool
    deepspeed_gib: float | None

    @property
    def step_seconds(self) -> float:
        """Return how long a step takes."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class StagePlan:
    """Hold a stage's options, one for each of WAYS."""

    stage: str
    steps: int
    micro_batch: int
    accumulation: int
    load: Load
    options: list[Option]


def advise(plans: Sequence[StagePlan]) -> int | None:
    """Return which of WAYS to take, since all stages are shared out alike; None where none fits them all.

    They go from plain to involved: it is the first that is within NEAR of the fastest, in the time of all steps, or
    within NEAR_SECONDS a step.
    """
    seconds = {
        way: sum(plan.options[way].step_seconds * plan.steps for plan in plans)
        for way in range(len(WAYS))
        if all(plan.options[way].fits for plan in plans)
    }
    near = NEAR * min(seconds.values(), default=0.0) + NEAR_SECONDS * sum(plan.steps for plan in plans)
    return next((way for way, spent in seconds.items() if spent <= near), None)


def recommend(plans: Sequence[StagePlan], way: int, gpu: Gpu, world: int) -> str:
    """Return in words what it takes to go one of WAYS: the settings, the memory, and the time of all steps."""
    zero, offload = WAYS[way]
    words = f"--set cluster.zero={zero}" + (f" --set cluster.offload={offload}" if offload != "none" else "")
    peak = max(plan.options[way].parts.peak for plan in plans) / 2**30
    hours = sum(plan.options[way].step_seconds * plan.steps for plan in plans) / 3600
    return (
        f"{words}: {_brief(peak)} of {gpu.memory_gib:g} GiB at most, {_brief(hours)} hours in all, "
        f"{_brief(hours * world)} GPU hours"
    )


def _brief(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def plan_stage(
    recipe: Recipe,
    stage: Stage,
    traced: Traced,
    gpu: Gpu,
    nodes: int,
    processes: int,
    prompt: int,
    spare_tiles: int = 0,
) -> StagePlan:
    """Return the plan of a stage on nodes of so many GPUs, for prompts of so many tokens. Raises ValueError.

    `spare_tiles` are those of memory.fused_head, which a GPU has none of.
    """
    world, model = nodes * processes, traced.numbers()
    micro_batch, accumulation = stage.trainer.share(world)
    load = _load(recipe, stage, prompt, micro_batch, world)
    activations = traced.activations(micro_batch, load.tokens)
    logits = fused_head(model, micro_batch * load.tokens, spare_tiles)
    options = []
    for zero, offload in WAYS:
        parts = _parts(recipe, stage, model, gpu, zero, offload, world, load, accumulation)
        parts = replace(parts, activations=activations, logits=logits)
        seconds = phases(model, load, gpu, zero, world, nodes)
        if offload != "none":  # Adam on the CPU, and its gradients and weights over PCIe
            seconds["optimizer"] = model.trained / world * SECONDS_ON_CPU
        fits = parts.peak <= gpu.memory_gib * 2**30 * USABLE
        estimate = _deepspeed_says(model, zero, offload, nodes, processes)
        options.append(Option(zero, offload, parts, seconds, fits, estimate))
    return StagePlan(stage.name, stage.trainer.steps, micro_batch, accumulation, load, options)


def _load(recipe: Recipe, stage: Stage, prompt: int, at_once: int, world: int) -> Load:
    trainer, recomputes = stage.trainer, recipe.model.gradient_checkpointing
    sequences = trainer.sequences // world
    if isinstance(trainer, Sft):
        return Load(sequences, 0, trainer.max_length, recomputes=recomputes, at_once=at_once)
    assert isinstance(trainer, Online)
    steps = trainer.updates * trainer.num_iterations
    old = steps > 1 or isinstance(trainer, Ppo) or recipe.cluster.vllm.mode != "off"
    return Load(
        sequences,
        prompt,
        trainer.max_completion_length,
        rollouts=trainer.rollouts // world,
        share=1 / steps,
        readings=int(old) + int(_kl_weight(stage) > 0),
        recomputes=recomputes,
        at_once=at_once,
    )


def _kl_weight(stage: Stage) -> float:
    trainer = stage.trainer
    return trainer.beta if isinstance(trainer, Grpo) else trainer.kl.weight if isinstance(trainer, Ppo) else 0.0


def _parts(
    recipe: Recipe,
    stage: Stage,
    model: Model,
    gpu: Gpu,
    zero: Literal[0, 1, 2, 3],
    offload: Literal["none", "optimizer", "all"],
    world: int,
    load: Load,
    accumulation: int,
) -> Parts:
    weights, gradients, optimizer = states(model, zero, offload, world)
    shared = world if zero == 3 else 1
    width = model.pass_bytes if zero else model.weight_bytes
    online, vllm = isinstance(stage.trainer, Online), recipe.cluster.vllm
    reference = model.parameters * width / shared if _kl_weight(stage) > 0 and recipe.model.lora is None else 0.0
    critic = 0.0
    if isinstance(stage.trainer, Ppo) and stage.trainer.critic.model is not None:  # taken to be of the policy's size
        critic = sum(states(replace(model, trained=model.parameters), zero, offload, world))
    by_transformers = online and vllm.mode == "off"
    return Parts(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        kv_cache=generation(model, load.rollouts, load.tokens) if by_transformers else 0.0,
        reference=reference,
        critic=critic,
        vllm=gpu.memory_gib * 2**30 * vllm.memory_share if online and vllm.mode == "colocate" else 0.0,
        gathered=model.parameters * width if online and zero == 3 and world > 1 else 0.0,
        accumulates=accumulation > 1,
    )


def _deepspeed_says(model: Model, zero: int, offload: str, nodes: int, processes: int) -> float | None:
    """Return DeepSpeed's own estimate of the states on one GPU, in GiB; None where it has none, or is not installed."""
    try:
        from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
        from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
    except ImportError:
        return None
    if zero == 2:
        size = estimate_zero2_model_states_mem_needs(model.trained, processes, nodes, offload != "none")[1]
    elif zero == 3:
        size = estimate_zero3_model_states_mem_needs(
            model.trained, model.largest_layer, processes, nodes, offload != "none", offload == "all"
        )[1]
    else:
        return None
    return size / 2**30
