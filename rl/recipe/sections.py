"""The typed recipe: one section per stage of the pipeline. Field docstrings are the documentation of the recipe."""

from typing import Annotated, Literal

from pydantic import Field

from rl.recipe.cluster_sections import Cluster, Guard
from rl.recipe.credit_sections import Coupled, Credit
from rl.recipe.data_sections import Data, ReasoningGym
from rl.recipe.distill_sections import Distill
from rl.recipe.reward_sections import AnyEffort, AnyMonitor, Rewards
from rl.recipe.section import Positive, Section, matching
from rl.recipe.seeds import MOST_STAGES
from rl.recipe.trainer_sections import AnyTrainer, Grpo, Sft


class Lora(Section):
    """Train low-rank adapters in place of the full weights (arXiv 2106.09685)."""

    rank: Positive = 16
    """Rank of the adapters."""
    alpha: Positive = 32
    """Scale of the adapters; the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapters' input."""
    targets: Literal["all-linear"] | list[str] = "all-linear"
    """Names of the modules that get an adapter."""


class Model(Section):
    """The policy that is trained."""

    name: Annotated[str, Field(min_length=1)] = "tiny"
    """`tiny` or `small` (the embedded models), a local folder, or a hub name such as Qwen/Qwen3-0.6B."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights. For full fine-tuning at small learning rates keep float32 and set `cluster: {precision:
    bfloat16}`."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Attention implementation of transformers."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    lora: Lora | None = None
    """Train adapters of this shape in place of the full weights."""


class Alarm(Section):
    """When a collapse is called one. Values are means over `steps` steps; the first ones set the start."""

    below: Annotated[float, Field(gt=0, lt=1)]
    """Share of the starting value under which the alarm goes off."""
    action: Literal["warn", "stop"] = "warn"
    """`warn` says so; `stop` also saves a checkpoint and ends the run, to be resumed past the alarm or left."""
    steps: Positive = 5
    """Steps that both the starting value and the present one are means over."""


class Alarms(Section):
    """What is watched for a collapse in grpo and ppo stages, the known failure of credit as pure weighting."""

    length: Alarm | None = None
    """Mean length of the completions."""
    entropy: Alarm | None = None
    """Mean entropy of the policy, per token."""


class Stage(Section):
    """One training stage; it starts from the policy that the stage before it ended with."""

    name: Annotated[str, matching(r"[a-z0-9][a-z0-9_-]*", "lower-case letters, digits, - and _")]
    """Name of the stage: its folder in checkpoints/ and its `stage` in metrics.jsonl."""
    trainer: AnyTrainer
    data: Data | None = None
    """In place of the recipe's data."""
    rewards: Rewards | None = None
    """In place of the recipe's rewards."""
    effort: AnyEffort | None = None
    """In place of the recipe's effort."""
    monitor: AnyMonitor | None = None
    """In place of the recipe's monitor."""
    credit: Credit | None = None
    """In place of the recipe's credit."""


class Wandb(Section):
    """The wandb run beside metrics.jsonl, with the same keys."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto`: online with an API key, else offline files that `wandb sync` takes."""
    project: str = "rhythm"
    """Project that the run belongs to."""
    entity: str | None = None
    """User or team; by default the key's own."""


class Samples(Section):
    """Which rollouts are kept in samples.jsonl."""

    every: Positive = 5
    """Steps between two kept sets; the last step is always kept."""
    count: Positive = 16
    """Rollouts in a kept set, whole groups first."""


class Heads(Section):
    """How attention heads are followed, on texts that stay the same and on rollouts: heads.jsonl, see docs/heads.md."""

    every: Annotated[int, Field(ge=0)] = 50
    """Steps between two measurements of every head; the last step is always measured. 0: never."""
    sequences: Annotated[int, Field(ge=2)] = 12
    """Texts of the probe set, and rollouts of the step, that heads are measured on."""


class Telemetry(Section):
    """What is written down while a run trains."""

    wandb: Wandb = Wandb()
    samples: Samples = Samples()
    heads: Heads = Heads()


class Checkpoints(Section):
    """When the state that a run resumes from is saved."""

    every: Positive = 50
    """Steps between two checkpoints; the end of a stage always saves its policy."""
    keep: Positive = 2
    """Newest checkpoints of a stage that are kept."""


CHAIN_OF_THREE = {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}
QUICKSTART_SFT = Stage(
    name="sft",
    data=ReasoningGym(size=22_400, options=CHAIN_OF_THREE),
    trainer=Sft(
        kind="sft",
        steps=700,
        learning_rate=1e-2,
        schedule="cosine",
        warmup_steps=20,
        batch=32,
        micro_batch=32,
        max_length=160,
        order="given",
        trl={"adam_beta2": 0.98},
    ),
)
QUICKSTART_GRPO = Stage(
    name="grpo",
    trainer=Grpo(
        kind="grpo",
        steps=120,
        learning_rate=4e-4,
        schedule="linear",
        warmup_steps=10,
        micro_batch=64,
        max_completion_length=64,
    ),
)


class Recipe(Section):
    """A whole run. `Recipe()` equals recipes/quickstart.yaml."""

    name: Annotated[
        str,
        matching(
            r"(?u:\w[\w .+=-]{0,79})", "at most 80 letters, digits, spaces and . + = - _, a letter, a digit or _ first"
        ),
    ] = "quickstart"
    """Name of the recipe, shown in reports and on wandb."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, data and sampling."""
    model: Model = Model()
    data: Data = ReasoningGym(size=1024, options=CHAIN_OF_THREE)
    rewards: Rewards = Rewards()
    effort: AnyEffort | None = None
    """Ask every rollout for an effort; in sft stages for what the worked completion takes, to teach the words."""
    monitor: AnyMonitor | None = None
    """Have the reasoning of every rollout audited for deception."""
    credit: Credit = Coupled()
    distill: Distill | None = None
    """How `rhythm distill` makes data of a teacher's traces of the prompts in `data`; training pays it no heed."""
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MOST_STAGES)] = [QUICKSTART_SFT, QUICKSTART_GRPO]
    alarms: Alarms = Alarms()
    telemetry: Telemetry = Telemetry()
    checkpoints: Checkpoints = Checkpoints()
    guard: Guard = Guard()
    cluster: Cluster = Cluster()
