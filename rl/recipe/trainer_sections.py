"""How a stage trains: one section for each kind of trainer. Field docstrings are the documentation of the recipe."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rl.recipe.section import Positive, Section

COPY = "policy"  # the critic that starts as a copy of the stage's policy


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
    """Gradients are scaled down to this norm, under ppo that of policy and critic together."""
    micro_batch: Positive
    """Most sequences in one forward pass of one device; fewer where its share of a step is smaller."""
    trl: dict[str, Any] = {}
    """Any other field of TRL's config for this trainer, passed through as it is."""

    @property
    def sequences(self) -> int:
        """Count the sequences of one optimizer step, over all devices."""
        raise NotImplementedError

    def share(self, world: int) -> tuple[int, int]:
        """Return how many sequences each of `world` processes takes at once in a step, and how often.

        Raises ValueError where a step cannot be shared out evenly.
        """
        each, rest = divmod(self.sequences, world)
        at_once = min(self.micro_batch, each)
        if rest or each % at_once:
            of_each = f" x {at_once}" if not rest else ""
            raise ValueError(f"the {self.sequences} sequences of a step cannot be shared by {world} processes{of_each}")
        return at_once, each // at_once


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
    packing: bool = False
    """Put several rows behind each other into sequences of max_length, which `batch` and `micro_batch` then count; no
    row attends to another. Saves padding; flash_attention_2 also the work between rows, which the others only mask."""

    @model_validator(mode="after")
    def _packs_have_no_order(self) -> "Sft":
        if self.packing and self.order == "given":
            raise ValueError("packing: puts rows together by their lengths; with order: given leave it out")
        return self

    @property
    def sequences(self) -> int:
        """Count the sequences of one optimizer step, over all devices."""
        return self.batch


class Online(Trainer):
    """What the trainers share that learn from rollouts of the policy they train."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    micro_batch: Positive = 8
    prompts_per_step: Positive = 8
    """Prompts whose completions make one batch of rollouts, over all devices."""
    num_generations: Positive
    """Completions of one prompt (G)."""
    max_completion_length: Positive = 1024
    """Longest completion, in tokens."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of the rollouts."""
    epsilon: Annotated[float, Field(gt=0)] = 0.2
    """Clip range of the probability ratio."""
    updates: Positive = 1
    """Optimizer steps that one batch of rollouts is split over; `steps` counts optimizer steps."""
    num_iterations: Positive = 1
    """Optimisation passes over one batch of rollouts."""

    @property
    def rollouts(self) -> int:
        """Count the completions of one batch of rollouts, over all devices."""
        return self.prompts_per_step * self.num_generations

    @property
    def sequences(self) -> int:
        """Count the sequences of one optimizer step, over all devices."""
        return self.rollouts // self.updates


class Grpo(Online):
    """Group-relative policy optimisation (arXiv 2402.03300), on TRL's trainer."""

    kind: Literal["grpo"]
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Completions of one prompt: the group that an advantage is relative to (G)."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL to the stage's first policy; 0 keeps no reference model."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    """How token losses become one loss, as TRL defines it. cispo needs `trl: {epsilon_high: 5.0}`."""


class Kl(Section):
    """How the policy is held to the stage's first one."""

    weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL; 0 keeps no reference model."""
    place: Literal["reward", "loss"] = "reward"
    """`reward`: a penalty on each token's reward, seen by the critic (arXiv 2203.02155); `loss`: a term of the loss."""
    estimator: Literal["k1", "k3"] | None = None
    """k1: log-ratio; k3: never negative, less variance. By default k1 in the reward; in the loss only k3 holds."""
    target: Annotated[float, Field(gt=0)] | None = None
    """Nats per completion that the weight is adapted to (arXiv 1909.08593); by default it stays as it is."""

    @model_validator(mode="after")
    def _has_an_effect(self) -> "Kl":
        if self.place == "loss" and self.estimator == "k1":
            raise ValueError("estimator: k1 has no gradient in the loss on average; write k3, or place: reward")
        if self.target is not None and self.weight == 0:
            raise ValueError("target: a weight of 0 stays 0; give the weight to start from, such as 0.01")
        return self


class Critic(Section):
    """What estimates the value of every state. Its learning rate and clip range are common values [ours]."""

    model: Annotated[str, Field(min_length=1)] | None = None
    """By default (null) a linear head on the policy's own trunk. `policy`: a network of its own, which starts as a copy
    of the stage's first policy; a model folder, a hub name, `tiny` or `small`: one that starts as that. Such a network
    is trained in full, also beside adapters, and needs memory like a second policy."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak learning rate of the critic's own weights; a shared trunk goes by the policy's."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First optimizer steps, in which the critic trains alone: the policy's learning rate is 0."""
    loss_weight: Annotated[float, Field(gt=0)] = 0.5
    """Weight of the critic's loss beside the policy's."""
    clip: Annotated[float, Field(ge=0)] = 0.2
    """How far a value may leave the one at the rollout before its loss is clipped; 0 never clips."""
    trunk_gradient: bool = True
    """Whether the critic's loss trains a shared trunk too, or its head alone."""


class Ppo(Online):
    """Proximal policy optimisation with a critic (arXiv 1707.06347), on the GRPO trainer's machinery."""

    kind: Literal["ppo"]
    num_generations: Positive = 1
    """Completions of one prompt; advantages need no group."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount of a reward per token."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Lambda of generalized advantage estimation (arXiv 1506.02438). Below 1 less noise; but 0.95 leaves 1 % of the
    final reward to a token 90 before the end, which long reasoning does not bear (arXiv 2503.01491)."""
    whiten: bool = True
    """Bring advantages to mean 0 and variance 1 over the tokens of all rollouts."""
    baseline: Literal["none", "group"] = "none"
    """`group` takes the mean reward of a prompt's completions off each of them, before the critic sees it [ours]."""
    truncated: Literal["end", "bootstrap"] = "end"
    """A completion that is cut off `end`s there, since its reward was given for it as it is; or the critic's value of
    its last state stands for what would have come, so that being cut off costs nothing [ours]."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    """How token losses become one loss, as TRL defines it; dapo: each token counts alike."""
    kl: Kl = Kl()
    critic: Critic = Critic()

    @model_validator(mode="after")
    def _groups_have_a_mean(self) -> "Ppo":
        if self.baseline == "group" and self.num_generations < 2:
            raise ValueError("baseline: a group of one has no other reward; set num_generations to 2 or more")
        return self


AnyTrainer = Annotated[Sft | Grpo | Ppo, Field(discriminator="kind")]
