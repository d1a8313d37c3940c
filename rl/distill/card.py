"""What a folder of distilled data holds, for people (README.md) and programs (card.json)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl.distill.sets import SETS, Sets
from rl.telemetry.jsonl import write_atomically

WORDS = {
    "echo": "opens by restating the question: as the teacher wrote it, or inserted",
    "plain": "the same traces without an echo: as the teacher wrote them, or deleted",
    "matched": "the same traces behind neutral words of as many tokens as the echo",
}


def write_card(folder: Path, sets: Sets, facts: Mapping[str, Any], calls: Mapping[str, int]) -> None:
    """Write both cards. `facts` say how it was made, `calls` how many calls of the teacher there were, of each kind."""
    counts = {
        "pairs": sets.pairs,
        "edits": dict(sorted(sets.edits.items())),
        "mean_tokens": {name: round(sets.tokens[name] / sets.pairs, 1) if sets.pairs else None for name in SETS},
        "calls": dict(calls),
        "dropped": dict(sets.dropped.most_common()),
    }
    write_atomically(folder / "card.json", json.dumps({**facts, **counts}, indent=2, ensure_ascii=False) + "\n")
    write_atomically(folder / "README.md", _page(facts, counts))


def _page(facts: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    lines = [
        f"# {facts['recipe']}: traces with and without an echo of their question",
        "",
        "Made by `rhythm distill` after ED-SFT (arXiv 2602.06600). Every row is a trace of the teacher that was "
        "verified by the recipe's rewards before and after it was edited. Row n of each set is one trace (`pair`).",
        "",
        *(f"- {name}: {value}" for name, value in facts.items() if name != "recipe"),
        "",
        "| set | rows | mean tokens | what it is |",
        "|---|---|---|---|",
        *(f"| `{name}.parquet` | {counts['pairs']} | {counts['mean_tokens'][name]} | {WORDS[name]} |" for name in SETS),
        "",
        "| edit | rows |",
        "|---|---|",
        *(f"| {edit} | {number} |" for edit, number in counts["edits"].items()),
        "",
        "| calls of the teacher | |",
        "|---|---|",
        *(f"| {kind} | {number} |" for kind, number in counts["calls"].items()),
        "",
        "| dropped (see dropped.jsonl) | |",
        "|---|---|",
        *(f"| {reason} | {number} |" for reason, number in counts["dropped"].items()),
    ]
    return "\n".join(lines) + "\n"
