"""What policies are evaluated on: the suites that have a name, and how one becomes tasks and judges. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from rl.recipe.checks import gold_faults, rubric_faults
from rl.recipe.data_sections import Benchmark, Columns, Data
from rl.recipe.endpoint_section import Endpoint
from rl.recipe.faults import Fault, RecipeError, suggestion, validation_faults
from rl.recipe.load import Tree, load, locate, merge, parse_override, shipped_names
from rl.recipe.reward_sections import EndpointMonitor, Rewards
from rl.recipe.section import Positive, Section
from rl.recipe.sections import Recipe
from rl.recipe.seeds import EVALUATION, task_seed

TAGGED = "Think inside <think> and </think>, then give your answer inside <answer> and </answer>."
REPLYING = "Reason inside <think> and </think>, then give your reply inside <output> and </output>."
COLUMNS = ("jsonl", "parquet", "hub")
FIXED_SEED = task_seed(0, EVALUATION)


class EndpointJudge(Endpoint):
    """A judge behind an OpenAI-compatible endpoint, asked at temperature 0."""

    kind: Literal["endpoint"]
    max_tokens: Positive = 512
    """Longest answer, in tokens: what a judge reasons before its yes or no counts."""


class LocalJudge(Section):
    """A judge that runs here, with transformers, greedily."""

    kind: Literal["local"]
    name: Annotated[str, Field(min_length=1)]
    """Model folder, run or hub name."""
    max_tokens: Positive = 512
    """Longest answer, in tokens."""
    batch: Positive = 16
    """Answers that are written at a time."""


class SuiteRecipe(Section):
    """What a policy is evaluated on: data, and rewards or a judge that say how it does."""

    name: str
    seed: int = 0
    """Seed of generated tasks that name none of their own."""
    data: Data
    rewards: Rewards | None = None
    """What is right; of a benchmark of deception none."""
    judge: Annotated[EndpointJudge | LocalJudge, Field(discriminator="kind")] | None = None
    """Who judges deception."""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Return the suite that a recipe's own data and rewards make; of a benchmark, its outer monitor judges."""
        told = {"name": recipe.name, "seed": recipe.seed, "data": recipe.data}
        if not isinstance(recipe.data, Benchmark):
            return cls(**told, rewards=recipe.rewards)
        monitor = recipe.monitor
        outer = EndpointJudge(**monitor.model_dump()) if isinstance(monitor, EndpointMonitor) else None
        return cls(**told, judge=outer)


def _by(reward: str) -> Tree:
    """Return rewards of which one says what is right, and the layout that is asked for is measured."""
    return {"parts": {reward: {}, "format": {"weight": 0.2, "options": {"tags": ["think", "answer"]}}}}


SUITES: dict[str, tuple[str, Tree]] = {
    "countdown": (
        "512 fixed problems of four numbers, of reasoning-gym",
        {
            "data": {
                "kind": "reasoning_gym",
                "task": "countdown",
                "size": 512,
                "seed": FIXED_SEED,
                "options": {"min_numbers": 4, "max_numbers": 4},
                "system": TAGGED,
            },
            "rewards": _by("countdown"),
        },
    ),
    "reasoning_gym": (
        "512 fixed problems of any set of reasoning-gym: --set data.task=NAME",
        {
            "data": {
                "kind": "reasoning_gym",
                "task": "chain_sum",
                "size": 512,
                "seed": FIXED_SEED,
                "system": TAGGED,
            },
            "rewards": _by("answer"),
        },
    ),
    "gsm8k": (
        "grade-school mathematics, test (hub)",
        {
            "data": {
                "kind": "hub",
                "name": "openai/gsm8k",
                "subset": "main",
                "split": "test",
                "answer_after": "####",
                "system": TAGGED,
            },
            "rewards": _by("answer"),
        },
    ),
    "math500": (
        "500 problems of competition mathematics (hub)",
        {
            "data": {
                "kind": "hub",
                "name": "HuggingFaceH4/MATH-500",
                "split": "test",
                "question": "problem",
                "answer": "answer",
                "system": TAGGED,
            },
            "rewards": _by("answer"),
        },
    ),
    "deceptionbench_pku": (
        "does the reply say what the reasoning believes (DTR)? your copy: --set data.path=FILE, and a judge",
        {"data": {"kind": "deceptionbench_pku", "system": REPLYING}},
    ),
    "deceptionbench_aries": (
        "does the reply deceive? your copy: --set data.path=FILE, and a judge",
        {"data": {"kind": "deceptionbench_aries", "system": REPLYING}},
    ),
}


def load_suite(name: str, overrides: Sequence[str] = ()) -> SuiteRecipe:
    """Load the suite of that name, or that of a recipe, with `key=value` overrides. Raises RecipeError.

    Rows of another kind of file keep the names of a suite's columns.
    """
    if name not in SUITES:
        if Path(name).suffix == "" and "/" not in name and not Path(name).is_file() and name not in shipped_names():
            known = suggestion(name, [*SUITES, *shipped_names()])
            raise RecipeError([Fault(name, "", f"no suite, no recipe file and no shipped recipe of that name{known}")])
        return _of_recipe(name, overrides)
    kinds_first = sorted(overrides, key=lambda text: not text.partition("=")[0].strip().endswith(".kind"))
    layers = [(f"--set {text}", parse_override(text)) for text in kinds_first]
    tree: Tree = {"name": name, **SUITES[name][1]}
    for _, layer in layers:
        tree = merge(_columns_kept(tree, layer), layer)
    layers.insert(0, (name, SUITES[name][1]))
    try:
        suite = SuiteRecipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(locate(validation_faults(error, tree, SuiteRecipe), [], layers, name)) from None
    return _checked(suite, layers, name)


def _of_recipe(name: str, overrides: Sequence[str]) -> SuiteRecipe:
    """Return the suite of a recipe; `judge` is a key of the suite, which the recipe has not."""
    top = {text: text.partition("=")[0].strip().partition(".")[0] for text in overrides}
    keys = [key for key in SuiteRecipe.model_fields if key != "name"]
    odd = [
        Fault(f"--set {text}", key, f"has no effect on a suite{suggestion(key, keys)}")
        for text, key in top.items()
        if key not in keys
    ]
    if odd:
        raise RecipeError(odd)
    judging = [text for text, key in top.items() if key == "judge"]
    suite = SuiteRecipe.of(load(name, [text for text in overrides if text not in judging]))
    layers = [(f"--set {text}", parse_override(text)) for text in judging]
    tree: Tree = suite.model_dump(mode="json", include={"judge"}, exclude_none=True)
    for _, layer in layers:
        tree = merge(tree, layer)
    try:
        judge = SuiteRecipe.model_validate({**suite.model_dump(), **tree}).judge
    except ValidationError as error:
        raise RecipeError(locate(validation_faults(error, tree, SuiteRecipe), [], layers, name)) from None
    return _checked(suite.model_copy(update={"judge": judge}), layers, name)


def _columns_kept(tree: Tree, layer: Tree) -> Tree:
    """Return the tree with the kind of rows that a layer asks for, where only where they lie is another."""
    data, asked = tree.get("data"), layer.get("data")
    kind = asked.get("kind") if isinstance(asked, dict) else None
    if not isinstance(data, dict) or kind not in COLUMNS or data.get("kind") not in COLUMNS or kind == data["kind"]:
        return tree
    return {**tree, "data": {**{key: data[key] for key in Columns.model_fields if key in data}, "kind": kind}}


def _checked(suite: SuiteRecipe, layers: Sequence[tuple[str, Tree]], name: str) -> SuiteRecipe:
    """Return a suite that can say how a policy does. Raises RecipeError."""
    benchmark, rewards = isinstance(suite.data, Benchmark), suite.rewards
    found = []
    if benchmark and suite.judge is None:
        found.append((["judge"], "is missing: write judge.kind: endpoint, with url and model, or local, with a name"))
    if not benchmark and suite.judge is not None:
        found.append((["judge"], f"has no effect with data of kind {suite.data.kind}; leave it out"))
    if benchmark and rewards is not None:
        found.append((["rewards"], f"have no effect with {suite.data.kind}, which a judge judges; leave them out"))
    if not benchmark and rewards is None:
        found.append((["rewards"], "are missing; nothing says what is right"))
    if rewards is not None and not benchmark:
        found += [(["rewards", *path], reason) for path, reason in rubric_faults(rewards)]
        found += gold_faults(suite.data, ["data"], rewards, ["rewards"])
    if found:
        raise RecipeError(locate(found, [], layers, name))
    return suite
