"""What becomes of a run's final policy as heads write more, less or nothing, against as many other heads."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rl.attention import Head, HeadError, check_heads, heads_in, scaled
from rl.circuits.snapshots import CircuitError
from rl.circuits.study import names_of
from rl.evaluation.decoding import Decoding
from rl.evaluation.differences import difference
from rl.evaluation.evaluate import all_answers, evaluate
from rl.evaluation.results import Results
from rl.evaluation.suite import build_suite, own_settings, shared_settings
from rl.intervals import Interval
from rl.policy import Policy, digest_of
from rl.recipe.sections import Recipe
from rl.recipe.suites import SuiteRecipe
from rl.telemetry.jsonl import write_atomically

UNCHANGED, RESULT = "unchanged", "intervention.json"
Heads = frozenset[Head]


@dataclass(frozen=True)
class Arm:
    """Hold how a policy did with some heads scaled, and how that differs from the unchanged policy, over tasks."""

    name: str
    heads: list[str]
    results: Results
    accuracy: Interval | None = None
    tokens: Interval | None = None


def parse_heads(text: str) -> Heads:
    """Return the heads that a text such as 3.1,4.0 names. Raises HeadError."""
    found = set()
    for part in text.split(","):
        layer, dot, head = part.strip().partition(".")
        if not (dot and layer.isdecimal() and head.isdecimal()):
            raise HeadError(f"{part.strip() or text!r} is no head; write LAYER.HEAD, such as 3.1,4.0")
        found.add((int(layer), int(head)))
    return frozenset(found)


def name_of(heads: Heads, factor: float, circuit: bool) -> str:
    """Return what an intervention is called, and its folder."""
    what = "ablate" if factor == 0 else f"scale-{factor:g}"
    names = ",".join(names_of(heads))
    if circuit or len(names) > 60:
        which = "circuit" if circuit else f"{len(heads)}-heads"
        return f"{what}-{which}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    return f"{what}-{names}"


def draw_controls(heads: Heads, there: Sequence[Head], count: int, seed: int) -> list[Heads]:
    """Return sets of as many other heads, from the same layers as far as these have others, else from any [ours].

    Raises HeadError where there are not as many others.
    """
    others = [head for head in there if head not in heads]
    if count and len(others) < len(heads):
        raise HeadError(
            f"{len(heads)} heads leave {len(others)} others, too few for controls of the same size; name fewer heads, "
            "or give --controls 0"
        )
    chance, drawn = random.Random(seed), []
    for _ in range(count):
        chosen: list[Head] = []
        for layer in sorted({layer for layer, _ in heads}):
            own = [head for head in others if head[0] == layer]
            wanted = sum(head[0] == layer for head in heads)
            chosen += chance.sample(own, min(wanted, len(own)))
        rest = [head for head in others if head not in chosen]
        drawn.append(frozenset(chosen + chance.sample(rest, len(heads) - len(chosen))))
    return drawn


def intervene(
    policy: Policy,
    recipe: Recipe,
    heads: Heads,
    factor: float,
    controls: int,
    decoding: Decoding,
    folder: Path,
    begin: Callable[[str, int, int], None],
    heard: Callable[[int], None],
) -> list[Arm]:
    """Evaluate the policy unchanged, with its heads scaled, and with each control's, and write intervention.json.

    Tasks and rewards are those of the recipe's last stage. Raises HeadError before anything is written, and what
    evaluations raise.
    """
    check_heads(policy.model, set(heads))
    there = heads_in(policy.model)
    drawn = draw_controls(heads, there, controls, decoding.seed)
    sets: dict[str, Heads] = {UNCHANGED: frozenset(), "chosen": heads}
    sets |= {f"control-{number}": one for number, one in enumerate(drawn, 1)}
    last = recipe.stages[-1]
    own = recipe.model_copy(update={"data": last.data or recipe.data, "rewards": last.rewards or recipe.rewards})
    asked = SuiteRecipe.of(own)
    suite = build_suite(asked)
    said = {**own_settings(policy, digest_of(Path(policy.name))), **shared_settings(asked, suite, decoding)}
    results = {}
    for name, chosen in sets.items():
        settings = {**said, "heads": names_of(chosen), "factor": factor if chosen else 1.0}
        with scaled(policy.model, dict.fromkeys(chosen, factor)):
            results[name] = evaluate(policy, suite, decoding, folder / name, settings, _named(begin, name), heard)
    arms = [arm_of(name, sets[name], one, folder, decoding.seed) for name, one in results.items()]
    text = json.dumps({"factor": factor, "arms": [asdict(arm) for arm in arms]}, indent=2, allow_nan=False)
    try:
        write_atomically(folder / RESULT, text + "\n")
    except OSError as error:
        raise CircuitError(f"{error.filename or folder}: {error.strerror}") from None
    return arms


def _named(begin: Callable[[str, int, int], None], arm: str) -> Callable[[str, int, int], None]:
    return lambda what, total, done: begin(f"{what}, {arm}", total, done)


def arm_of(name: str, heads: Heads, results: Results, folder: Path, seed: int) -> Arm:
    """Return an arm whose answers lie in `folder`, beside the unchanged policy's. Raises EvaluationError."""
    if name == UNCHANGED:
        return Arm(name, [], results)
    ours, theirs = (all_answers(folder / arm) for arm in (name, UNCHANGED))
    return Arm(
        name,
        names_of(heads),
        results,
        difference(ours, theirs, lambda answer: answer.correct, seed),
        difference(ours, theirs, lambda answer: answer.num_tokens, seed),
    )
