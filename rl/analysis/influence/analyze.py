"""From a policy and a file of rows to their influence, and the rows to keep."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rl.analysis.folder import claim
from rl.analysis.influence.choose import Domain, choose
from rl.analysis.influence.needles import LENGTH, NEEDLE, NUM_PROBES, make_probes, retrieval_scores, strongest
from rl.analysis.influence.rows import chunks, schema_of, stream, write_tables
from rl.analysis.influence.score import Read, influences, read_row
from rl.analysis.traces import AnalysisError
from rl.attention import Head, readable_layers
from rl.emergence import RETRIEVAL
from rl.policy import Policy, digest_of
from rl.telemetry.jsonl import write_atomically
from rl.telemetry.progress import ProgressDisplay

FIRST_ROWS = 256  # whose tokens probes are made of


@dataclass(frozen=True)
class Influence:
    """Hold the heads that were made even, every head's retrieval score, and what is said of each domain."""

    heads: Sequence[Head]
    retrieval: Mapping[Head, float]
    domains: Mapping[str, Domain]
    cut: int

    @property
    def copies(self) -> bool:
        """Say whether any of the heads is a retrieval head at all."""
        return any(self.retrieval[head] > RETRIEVAL for head in self.heads)


@dataclass
class _Rows:
    """Read rows into tokens one by one, and count what was cut."""

    policy: Policy
    path: Path
    text: str | None
    domain: str | None
    limit: int | None
    most: int
    cut: int = 0

    def __post_init__(self) -> None:
        self.domains: list[str] = []

    def __iter__(self) -> Iterator[Read]:
        for where, row in stream(self.path, self.limit):
            found = read_row(self.policy, where, row, self.text, self.most)
            if self.domain is not None and not isinstance(row.get(self.domain), str):
                raise AnalysisError(f"{where}: column {self.domain!r}, the domain, should hold text; see --domain")
            self.domains.append("all" if self.domain is None else str(row[self.domain]))
            self.cut += found.cut
            yield found


def analyze_influence(
    model: str,
    data: Path,
    folder: Path,
    *,
    text: str | None,
    domain: str | None,
    share: float,
    head_share: float,
    max_tokens: int,
    system: str | None,
    limit: int | None,
    batch: int,
    seed: int,
    console: Console,
) -> Influence:
    """Score the rows of a file, and write scored.parquet, top.parquet and influence.json to folder.

    Raises AnalysisError, DataError, ModelError, ProbeError and RunError; then nothing is written.
    """
    with console.status("loading"):
        schema, count = schema_of(data, limit)
        text = _check(data, schema.names, text, domain, count)
        policy = Policy.load(model, system=system)
        rows = _Rows(policy, data, text, domain, limit, min(max_tokens, policy.context))
        first = [row.ids for row in itertools.islice(rows, FIRST_ROWS)]
        rows = _Rows(policy, data, text, domain, limit, rows.most)
    claim(folder)
    progress = ProgressDisplay(console)
    try:
        progress.begin("retrieval heads, probes", NUM_PROBES, 0)
        retrieval = _retrieval(policy, first, seed, batch, progress)
        heads = strongest(retrieval, head_share)
        progress.begin("rows", count, 0)
        scores: list[float | None] = []
        for part in influences(policy, rows, heads, batch=batch):
            scores += part
            progress.advance(len(part))
    finally:
        progress.end()
    kept, domains = choose(scores, rows.domains, share)
    found = Influence(heads, retrieval, domains, rows.cut)
    facts = {"model": model, "weights": digest_of(Path(policy.name)), "system": policy.system, "data": str(data)}
    facts |= {"limit": limit, "text": text, "domain": domain, "share": share, "head_share": head_share}
    facts |= {"max_tokens": rows.most, "seed": seed}
    try:
        write_atomically(folder / "influence.json", _said(facts, found))
        write_tables(chunks(data, limit), schema, scores, kept, folder)
    except OSError as error:
        raise AnalysisError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None
    return found


def _check(data: Path, columns: Sequence[str], text: str | None, domain: str | None, count: int) -> str | None:
    """Return the column of text, None for question and completion. Raises AnalysisError where columns are missing."""
    there = ", ".join(columns) or "none"
    if not count:
        raise AnalysisError(f"{data}: holds no rows")
    if "influence" in columns:
        raise AnalysisError(f"{data}: has a column influence already; drop or rename it")
    if domain is not None and domain not in columns:
        raise AnalysisError(f"{data}: --domain {domain} is no column; columns there: {there}")
    if text is None and "question" not in columns:
        text = "text"
    if text is not None and text not in columns:
        raise AnalysisError(f"{data}: should have a column question, or one of text that --text names; there: {there}")
    return text


def _retrieval(
    policy: Policy, first: Sequence[Sequence[int]], seed: int, batch: int, progress: ProgressDisplay
) -> dict[Head, float]:
    special = set(policy.tokenizer.all_special_ids)
    tokens = [token for ids in first for token in ids if token not in special]
    layers, length = readable_layers(policy.model), min(LENGTH, policy.context)
    if not layers or length < 3 * NEEDLE or not tokens:
        why = "no layer whose attention can be read" if not layers else "no room for a needle, or the data no token"
        raise AnalysisError(f"{policy.name}: has {why}, so no retrieval heads can be found")
    return retrieval_scores(policy, make_probes(tokens, length, seed), layers, batch=batch, heard=progress.advance)


def _said(facts: Mapping[str, Any], found: Influence) -> str:
    said = {
        **facts,
        "heads": [[layer, head, found.retrieval[layer, head]] for layer, head in found.heads],
        "retrieval": [[layer, head, score] for (layer, head), score in found.retrieval.items()],
        "cut": found.cut,
        "domains": {name: asdict(domain) for name, domain in found.domains.items()},
    }
    return json.dumps(said, indent=1, allow_nan=False) + "\n"
