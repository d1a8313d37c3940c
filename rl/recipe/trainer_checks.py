"""What a stage's trainer section may get wrong by itself, though every key of it is well-formed."""

from collections.abc import Iterator

from rl.recipe.sections import Stage
from rl.recipe.trainer_sections import COPY, Grpo, Online, Ppo
from rl.recipe.trl_fields import reason_to_refuse

Place = list[str | int]
Fault = tuple[Place, str]


def trainer_faults(stage: Stage) -> Iterator[Fault]:
    """Yield (path in the stage, reason) for every fault of its trainer."""
    trainer = stage.trainer
    for field in trainer.trl:
        reason = reason_to_refuse(trainer.kind, field)
        if reason:
            yield ["trainer", "trl", field], reason
    if isinstance(trainer, Online):
        product = f"prompts_per_step x num_generations = {trainer.rollouts}"
        total, words = trainer.rollouts / trainer.updates, product
        if trainer.updates > 1:
            words = f"{product} in {trainer.updates} updates"
    else:
        total, words = trainer.batch, f"batch = {trainer.batch}"
    if isinstance(trainer, Grpo) and trainer.loss_type == "cispo":
        cap = trainer.trl.get("epsilon_high", trainer.epsilon)
        if isinstance(cap, int | float) and cap <= 1:
            yield (
                ["trainer", "trl", "epsilon_high"],
                f"cispo clips the probability ratio itself at this, and {cap:g} would scale every gradient down; "
                "set it above 1 (its paper: 5.0)",
            )
    if isinstance(trainer, Ppo):
        yield from _ppo_faults(trainer)
    if isinstance(trainer, Online) and trainer.rollouts % trainer.updates:
        yield (
            ["trainer", "updates"],
            f"{trainer.updates} does not divide prompts_per_step x num_generations = {trainer.rollouts}",
        )
    elif total % trainer.micro_batch:
        yield ["trainer", "micro_batch"], f"{trainer.micro_batch} does not divide {words}"


def _ppo_faults(trainer: Ppo) -> Iterator[Fault]:
    critic = trainer.critic
    if trainer.rollouts < 2 and trainer.whiten:
        yield ["trainer", "prompts_per_step"], "advantages of one rollout cannot be whitened; write 2 or more"
    if critic.warmup_steps >= trainer.steps:
        reason = f"{critic.warmup_steps} of {trainer.steps} steps leave the policy none to train in; lower it"
        yield ["trainer", "critic", "warmup_steps"], reason
    if critic.revision is not None and critic.model in (None, COPY):
        yield ["trainer", "critic", "revision"], "is of a hub model; name it in `model`, or leave it out"
    if critic.model is not None and not critic.trunk_gradient:
        reason = "has no effect on a critic of its own; leave it out, or write model: null"
        yield ["trainer", "critic", "trunk_gradient"], reason
