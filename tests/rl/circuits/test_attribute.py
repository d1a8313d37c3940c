"""Scores of edges against a decoder that is written out edge by edge, and against what they should add up to."""

from typing import Any

import pytest
import torch
from reference import models, planted, split
from scipy.stats import spearmanr
from torch import Tensor

from rl.attention import head_scores, scaled
from rl.circuits.attribute import Attribution, attribute, num_steps
from rl.circuits.graph import Graph
from rl.circuits.pairs import Pair, PairError
from rl.circuits.structure import StructureError
from rl.circuits.writes import kl

FAMILIES = ["qwen2", "qwen3", "llama", "mistral", "gemma2"]
SMALL = {"num_hidden_layers": 2}


def pairs(lengths: tuple[int, ...] = (12, 15, 9)) -> list[Pair]:
    """Texts that differ in two tokens, the last among them for every second pair."""
    chance, found = torch.Generator().manual_seed(0), []
    for place, length in enumerate(lengths):
        clean = torch.randint(3, 60, (length,), generator=chance).tolist()
        corrupt = list(clean)
        for at in (3, length - 1 if place % 2 else 6):
            corrupt[at] = 3 + (corrupt[at] + 7) % 57
        found.append(Pair(f"pair {place}", tuple(clean), tuple(corrupt)))
    return found


def near(model: Any, shift: float) -> Pair:
    """Two texts whose inputs are close: the one's tokens have embeddings a little off those of the other's."""
    chance = torch.Generator().manual_seed(3)
    table = model.model.embed_tokens.weight.data
    clean = list(range(3, 15))
    corrupt = list(range(23, 35))
    off = torch.randn(12, table.shape[1], generator=chance) * table.std() * shift
    table[corrupt] = table[clean] + off
    return Pair("near", tuple(clean), tuple(corrupt))


def likeliest(clean: Tensor, logits: Tensor) -> Tensor:
    """The log-prob of the clean text's likeliest token: a metric whose gradient is nowhere 0."""
    return logits.log_softmax(-1).gather(-1, clean.argmax(-1, keepdim=True)).squeeze(-1)


def embedded(model: Any, ids: tuple[int, ...]) -> Tensor:
    return model.model.embed_tokens(torch.tensor(ids)).detach().double()


def flat(found: Attribution) -> list[float]:
    """The scores of all edges that there are, in the order of `split.edges`."""
    return found.scores[found.graph.allowed()].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_edges_that_leave_the_input_add_up_to_the_metric(family: str) -> None:
    found = attribute(models.build(family), pairs(), steps=50, micro_batch=2)
    assert found.gap < -0.05
    assert float(found.scores[0].sum()) == pytest.approx(found.gap, rel=0.05)
    assert not found.scores[~found.graph.allowed()].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_a_decoder_with_a_stream_for_every_destination(family: str) -> None:
    """Each destination reads a stream of its own, to which something that is 0 is added: its gradient is the edge's."""
    model, [pair] = models.build(family, attention="eager", **SMALL), pairs((10,))
    found = attribute(model, [pair], steps=3)
    clean, corrupt = embedded(model, pair.clean), embedded(model, pair.corrupt)
    goal, ours = split.run(model, clean)
    _, theirs = split.run(model, corrupt)
    torch.testing.assert_close(model(torch.tensor([pair.clean])).logits[0, -1], goal, rtol=1e-4, atol=1e-6)
    edges = split.edges(model)
    gradients = {name: torch.zeros_like(clean) for _, name in edges}
    for step in (1, 2, 3):
        leaves = {name: torch.zeros_like(clean, requires_grad=True) for name in gradients}
        logits, _ = split.run(
            model,
            corrupt + (clean - corrupt) * step / 3,
            lambda name, written, leaves=leaves: split.everything(name, written) + leaves[name],
        )
        kl(goal[None].detach(), logits[None]).sum().backward()
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            gradients[name] += leaf.grad / 3
    wanted = [float(((ours[u] - theirs[u]) * gradients[v]).sum().detach()) for u, v in edges]
    assert len(edges) == int(found.graph.allowed().sum())
    torch.testing.assert_close(
        torch.tensor(flat(found)), torch.tensor(wanted), rtol=1e-3, atol=1e-5 * max(map(abs, wanted))
    )


def patched(model: Any, pair: Pair, clean_elsewhere: bool, metric: Any) -> list[float]:
    """The metric's change as one destination alone sees one write of the other text, edge by edge."""
    clean, corrupt = embedded(model, pair.clean), embedded(model, pair.corrupt)
    with torch.no_grad():
        goal, ours = split.run(model, clean)
        base, theirs = split.run(model, corrupt)
        other, start = (theirs, clean) if clean_elsewhere else (ours, corrupt)
        reached = metric(goal[None], (goal if clean_elsewhere else base)[None])
        found = []
        for source, destination in split.edges(model):

            def see(name: str, written: split.Writes, source: str = source, destination: str = destination) -> Tensor:
                swapped = {**written, source: other[source]} if name == destination else written
                return split.everything(name, swapped)

            logits, _ = split.run(model, start, see)
            change = metric(goal[None], logits[None]) - reached
            found.append(float(-change if clean_elsewhere else change))
    return found


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize(("shift", "least"), [(0.1, 0.95), (0.01, 0.99)])
def test_scores_rank_edges_as_patching_them_one_by_one_does(family: str, shift: float, least: float) -> None:
    """The regime: inputs that are near each other, and a metric with a slope where the patches are made."""
    model = models.build(family, **SMALL)
    pair = near(model, shift)
    scores = flat(attribute(model, [pair], steps=10, metric=likeliest))
    assert spearmanr(scores, patched(model, pair, True, likeliest)).statistic >= least


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_scores_of_kl_rank_edges_as_patching_them_both_ways_does(family: str) -> None:
    """At the clean text KL is flat, and whatever is patched there makes it larger.

    With D all that sets the texts' logits apart and d an edge's part, patching there changes KL by d.d / 2, and into
    the corrupt text by d.d / 2 - d.D: half of what both say is the -d.D / 2 that the mean gradient sees.
    """
    model = models.build(family, **SMALL)
    pair = near(model, 0.01)
    scores = flat(attribute(model, [pair], steps=10))
    there, back = patched(model, pair, True, kl), patched(model, pair, False, kl)
    assert max(there) < 1e-12 and spearmanr(scores, there).statistic < 0.9  # which alone is another measure
    assert spearmanr(scores, [(one + other) / 2 for one, other in zip(there, back, strict=True)]).statistic >= 0.99


def test_heads_that_share_keys_have_queries_and_writes_of_their_own() -> None:
    """Of two heads on one key-value head, only that which reads something and writes something has scores."""
    model = models.build("qwen3", **SMALL)
    attention = model.get_submodule("model.layers.1.self_attn")
    attention.o_proj.weight.data[:, 1 * 8 : 2 * 8] = 0  # head 1.1, of the group of heads 1.0 and 1.1, writes nothing
    found = attribute(model, pairs(), steps=3)
    graph, scores = found.graph, found.scores
    queries = scores[:, graph.queries(1)]
    assert not queries[:, 1].any() and all(queries[:, head].any() for head in (0, 2, 3))
    writes = scores[graph.heads(1)]
    assert not writes[1].any() and all(writes[head].any() for head in (0, 2, 3))
    assert scores[:, graph.keys(1)].any(0).all() and scores[:, graph.values(1)].any(0).all()
    assert graph.heads_of_destination(graph.values(1).start) == ((1, 0), (1, 1))
    assert graph.name_of_destination(graph.values(1).start + 1) == "heads 1.2-3 v"


def test_numbers_and_names_of_nodes() -> None:
    graph = Graph(num_layers=2, num_heads=4, num_key_heads=4)
    assert (graph.num_sources, graph.num_destinations) == (11, 27)
    assert [graph.name_of_source(one) for one in (0, 1, 4, 5, 6, 10)] == [
        "input",
        "head 0.0",
        "head 0.3",
        "MLP 0",
        "head 1.0",
        "MLP 1",
    ]
    assert [graph.name_of_destination(one) for one in (0, 4, 11, 12, 13, 26)] == [
        "head 0.0 q",
        "head 0.0 k",
        "head 0.3 v",
        "MLP 0",
        "head 1.0 q",
        "logits",
    ]
    assert graph.heads_of_source(5) == graph.heads_of_destination(12) == graph.heads_of_destination(26) == ()
    assert [int(count) for count in graph.allowed().sum(1)] == [27, *[15] * 4, 14, *[2] * 4, 1]


def test_batches_and_padding_change_nothing() -> None:
    model = models.build("gemma2")
    alone, together = (attribute(model, pairs(), steps=4, micro_batch=size).scores for size in (1, 3))
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-6 * float(alone.abs().max()))
    assert all(parameter.requires_grad for parameter in model.parameters())
    calls: list[None] = []
    attribute(model, pairs(), steps=4, micro_batch=2, heard=lambda: calls.append(None))
    assert len(calls) == num_steps(3, 4, 2) == 8


def test_the_head_that_copies_is_found_by_its_circuit_its_attention_and_its_loss() -> None:
    model = planted.build()
    texts = [Pair(str(one), tuple(planted.text(one)), tuple(planted.text(one + 1))) for one in (8, 11, 14)]
    logits = model(torch.tensor([texts[0].clean])).logits[0, -1]
    assert int(logits.argmax()) == 8 and logits.softmax(-1)[8] > 0.5
    found = attribute(model, texts, steps=20)
    touching: dict[tuple[int, int], float] = {}
    for source, destination in found.graph.allowed().nonzero().tolist():
        graph, score = found.graph, abs(float(found.scores[source, destination]))
        for head in {*graph.heads_of_source(source), *graph.heads_of_destination(destination)}:
            touching[head] = touching.get(head, 0.0) + score
    ranked = sorted(touching, key=lambda head: -touching[head])
    assert ranked[0] == planted.HEAD and touching[ranked[0]] > 1.5 * touching[ranked[1]]
    strongest = int(found.scores.abs().argmax())
    assert planted.HEAD in {
        *found.graph.heads_of_source(strongest // found.graph.num_destinations),
        *found.graph.heads_of_destination(strongest % found.graph.num_destinations),
    }
    ids = torch.tensor([[*planted.text(8, place=place), 8] for place in (2, 5, 8)])
    response = torch.zeros_like(ids)
    response[:, -1] = 1
    options = {"layers": [0, 1], "needle": [(2, 3), (5, 6), (8, 9)]}
    copied = {
        (layer, head): float(value)
        for layer, scores in head_scores(model, ids, torch.ones_like(ids), response, **options).items()
        for head, value in enumerate(scores.retrieval if scores.retrieval is not None else [])
    }
    assert copied[planted.HEAD] == 1 and all(value < 1 for head, value in copied.items() if head != planted.HEAD)
    losses = {}
    clean = torch.tensor([one.clean for one in texts])
    for head in touching:
        with torch.no_grad(), scaled(model, {head: 0.0}):
            losses[head] = -model(clean).logits[:, -1].log_softmax(-1).gather(1, torch.tensor([[8], [11], [14]])).mean()
    assert max(losses, key=lambda head: losses[head]) == planted.HEAD


def test_texts_of_a_pair_are_as_long() -> None:
    model = models.build("llama")
    with pytest.raises(PairError, match=r"pair b: its clean text has 3 tokens and its corrupt one 2"):
        attribute(model, [Pair("a", (3, 4), (5, 6)), Pair("b", (3, 4, 5), (3, 4))], steps=2)
    with pytest.raises(PairError, match="there are none"):
        attribute(model, [], steps=2)


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        ("phi3", r"Phi3ForCausalLM: layer 0 has no plain self_attn.q_proj"),
        ("qwen3_moe", r"Qwen3MoeForCausalLM: layer 0 has no plain mlp.gate_proj"),
        ("gpt_neox", "GPTNeoXForCausalLM"),
        ("gpt_oss", "GptOssForCausalLM: layer 0 has no plain mlp.gate_proj"),
        ("deepseek_v3", "DeepseekV3ForCausalLM: layer 0 has no plain self_attn.q_proj"),
        ("qwen3_next", "Qwen3NextForCausalLM: layer 0 has no plain self_attn.q_proj"),
    ],
)
def test_models_of_other_parts_are_refused_by_name(family: str, fault: str) -> None:
    with pytest.raises(StructureError, match=fault):
        attribute(models.build(family), pairs(), steps=1)


def test_layers_that_do_not_add_up_are_refused() -> None:
    """A Granite scales what its layers write: its parts have the right names, and other sums."""
    from transformers import AutoModelForCausalLM, GraniteConfig

    config = GraniteConfig(**{**models.SHAPE, "residual_multiplier": 0.5})
    with pytest.raises(StructureError, match="GraniteForCausalLM: its heads and MLPs do not add up"):
        attribute(AutoModelForCausalLM.from_config(config).eval(), pairs(), steps=1)
