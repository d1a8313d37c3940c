"""How a stage trains: one section for each kind of trainer. Field docstrings are the documentation of the recipe."""

from typing import Annotated, Any, Literal

from pydantic import Field

from rl.recipe.section import Positive, Section


class Trainer(Section):
    """What all trainers share."""

    steps: Positive
    """Optimizer steps."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    """Learning-rate schedule."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the learning rate climbs from 0."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are scaled down to this norm."""
    micro_batch: Positive
    """Sequences in one forward pass of one device."""
    trl: dict[str, Any] = {}
    """Any other field of TRL's config for this trainer, passed through as it is."""


class Sft(Trainer):
    """Supervised fine-tuning on worked completions; the loss is on the completion only."""

    kind: Literal["sft"]
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    batch: Positive = 64
    """Sequences in one optimizer step, over all devices."""
    micro_batch: Positive = 8
    max_length: Positive = 4096
    """Longest prompt and completion together, in tokens; a longer one is refused."""
    order: Literal["shuffled", "given"] = "shuffled"
    """`given` keeps the order of the data, for a curriculum."""


class Grpo(Trainer):
    """Group-relative policy optimisation (arXiv 2402.03300), on TRL's trainer."""

    kind: Literal["grpo"]
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    micro_batch: Positive = 8
    prompts_per_step: Positive = 8
    """Prompts whose completions make one batch of rollouts, over all devices."""
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Completions of one prompt: the group that an advantage is relative to (G)."""
    max_completion_length: Positive = 1024
    """Longest completion, in tokens."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the rollouts."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL to the stage's first policy; 0 keeps no reference model."""
    epsilon: Annotated[float, Field(gt=0)] = 0.2
    """Clip range of the probability ratio."""
    updates: Positive = 1
    """Optimizer steps that one batch of rollouts is split over; `steps` counts optimizer steps."""
    num_iterations: Positive = 1
    """Optimisation passes over one batch of rollouts."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    """How token losses become one loss, as TRL defines it. cispo needs `trl: {epsilon_high: 5.0}`."""

    @property
    def rollouts(self) -> int:
        """Count the completions of one batch of rollouts, over all devices."""
        return self.prompts_per_step * self.num_generations


AnyTrainer = Annotated[Sft | Grpo, Field(discriminator="kind")]
