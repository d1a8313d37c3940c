"""Edges that are kept and heads that come and go, against numbers worked out by hand and against SciPy."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.circuits.attribute import Attribution
from rl.circuits.edges import Edge, heads_of, keep, say
from rl.circuits.emergence import Heads, changes, cohorts, first_seen, frequency
from rl.circuits.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=4, num_key_heads=2)
A, B, C, D = (0, 0), (0, 1), (1, 0), (1, 3)
BASE: Heads = frozenset({A, B})
LATER: list[Heads] = [frozenset({A, C}), frozenset({A, C, D}), frozenset({B, D})]


def attribution(scores: dict[tuple[int, int], float]) -> Attribution:
    table = torch.zeros(GRAPH.num_sources, GRAPH.num_destinations)
    for place, score in scores.items():
        table[place] = score
    return Attribution(GRAPH, table, -1.0)


def test_edges_are_kept_by_rank_and_then_by_size() -> None:
    into_values, logits = GRAPH.values(1).start + 1, GRAPH.logits
    found = attribution({(0, 0): 1.0, (2, logits): -5.0, (1, into_values): 0.625, (5, logits): 0.4, (6, 0): 99.0})
    kept = keep(found)
    assert kept == [Edge(2, logits, -5.0), Edge(0, 0, 1.0), Edge(1, into_values, 0.625)]  # 0.5 and more
    assert keep(found, top=2) == kept[:2] and len(keep(found, threshold=0.0)) == 4  # what scores 0 is no edge
    assert [say(GRAPH, edge) for edge in kept] == [
        "head 0.1 -> logits",
        "input -> head 0.0 q",
        "head 0.0 -> heads 1.2-3 v",
    ]
    assert heads_of(GRAPH, kept) == {(0, 1), (0, 0), (1, 2), (1, 3)}
    assert keep(attribution({})) == []


def test_heads_come_and_go() -> None:
    first, second, third = changes(BASE, LATER)
    assert (first.newly_active, first.retained, first.fresh) == ({C}, {A}, {C})
    assert (second.newly_active, second.retained, second.fresh) == ({C, D}, {A}, {D})
    assert (third.newly_active, third.retained, third.fresh) == ({D}, {B}, {B})
    assert first_seen(BASE, LATER) == {A: 0, B: 0, C: 1, D: 2}
    assert cohorts(BASE, LATER) == {0: [2, 1, 1, 1], 1: [0, 1, 1, 0], 2: [0, 0, 1, 1]}
    assert frequency(LATER) == pytest.approx({A: 2 / 3, B: 1 / 3, C: 2 / 3, D: 2 / 3})
    assert changes(BASE, []) == [] and cohorts(BASE, []) == {0: [2]} and frequency([]) == {}


heads = st.frozensets(st.tuples(st.integers(0, 2), st.integers(0, 3)))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(heads, st.lists(heads, max_size=5))
def test_cohorts_share_circuits_out(base: Heads, circuits: list[Heads]) -> None:
    found = cohorts(base, circuits)
    for place, circuit in enumerate([base, *circuits]):
        assert sum(counts[place] for counts in found.values()) == len(circuit)
    for change in changes(base, circuits):
        assert change.newly_active | change.retained == change.heads and not change.newly_active & change.retained
