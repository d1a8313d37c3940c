"""What data may get wrong as what a stage trains on, though every key of them is well-formed."""

from collections.abc import Iterator

from rl.recipe.data_sections import Benchmark, Columns, Data, ReasoningGym
from rl.recipe.trainer_checks import Fault, Place

# How rl.data.traces can tell worked completions, and of which reasoning-gym tasks.
TELLINGS = {
    "monologue": ("chain_sum", "countdown"),
    "dialogue": ("countdown",),
    "search": ("countdown",),
}
# Facts of generated tasks that rewards are told.
FACTS = {"countdown": frozenset({"numbers", "target"})}


def telling_faults(data: Data, place: Place) -> Iterator[Fault]:
    """Yield that data which no sft stage learns from need not say how completions are told."""
    if isinstance(data, ReasoningGym) and data.traces != "monologue":
        yield [*place, "traces"], "is of the worked completions of an sft stage; leave it out"


def completion_faults(data: Data, place: Place) -> Iterator[Fault]:
    """Yield why data have no worked completions for an sft stage to learn from."""
    if isinstance(data, ReasoningGym) and data.task not in TELLINGS["monologue"]:
        traced = ", ".join(TELLINGS["monologue"])
        yield (
            [*place, "task"],
            f"an sft stage needs worked completions, which rhythm writes for {traced} alone, not {data.task}; "
            "give the stage `data` with a `completion` column",
        )
    elif isinstance(data, ReasoningGym) and data.task not in TELLINGS[data.traces]:
        told = ", ".join(TELLINGS[data.traces])
        yield [*place, "traces"], f"is {data.traces}, which rhythm writes for {told} alone, not {data.task}"
    if isinstance(data, Benchmark):
        yield [*place, "kind"], f"{data.kind} has no worked completions; an sft stage needs other data"
    if isinstance(data, Columns) and data.completion is None:
        yield [*place, "completion"], "an sft stage needs the name of the column that holds the worked completions"
