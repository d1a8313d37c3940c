"""A run of seconds that learns something from its first step, for faults to be done to."""

from pathlib import Path

from reference.command import overrides, rhythm

TESTS = Path(__file__).resolve().parents[1]
SFT_STEPS, STEPS = 4, 24
RECIPE = (
    f"stages.sft.trainer.steps={SFT_STEPS}",
    "stages.sft.trainer.learning_rate=1e-3",
    "stages.sft.data.size=64",
    "stages.sft.trainer.batch=16",
    "stages.sft.trainer.micro_batch=8",
    f"stages.grpo.trainer.steps={STEPS}",
    "stages.grpo.trainer.prompts_per_step=4",
    "stages.grpo.trainer.num_generations=4",
    "stages.grpo.trainer.micro_batch=8",
    "stages.grpo.trainer.num_iterations=2",
    "stages.grpo.trainer.max_completion_length=24",
    "rewards.parts={length: {reward: 'reference.dying:ByLength'}, answer: null, format: null}",
    "credit.horizon=[2, 20]",
    "checkpoints.every=3",
    "data.size=64",
    "telemetry.wandb.mode=disabled",
    "telemetry.samples.every=4",
)


def words(path: Path, *changes: str) -> list[str | Path]:
    """Return the words of a command that trains it in path."""
    return ["train", "quickstart", "--run-dir", path, *overrides(*RECIPE, *changes)]


def train(path: Path, *changes: str) -> Path:
    """Train it in path, which must succeed."""
    done = rhythm(*words(path, *changes), PYTHONPATH=str(TESTS))
    assert done.returncode == 0, done.stdout + done.stderr
    return path
