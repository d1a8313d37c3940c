"""The seeds of generated tasks: every stage has its own, and what policies are evaluated on another."""

MOST_STAGES = 98  # of a recipe
EVALUATION = 99  # the number of the stage whose tasks are held out


def task_seed(seed: int, stage: int) -> int:
    """Return a seed for a stage's tasks: far from all others, since reasoning-gym seeds its n-th task with seed + n."""
    return (seed * 100 + stage) * 10_000_000
