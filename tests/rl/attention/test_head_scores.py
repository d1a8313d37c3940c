"""The scores of heads against their definitions on dense maps, and against SciPy's kurtosis."""

import pytest
import torch
from reference import dense, models
from scipy.stats import kurtosis

from rl.attention import head_scores, probe
from rl.attention.layer import Attention
from rl.attention.moments import received, row_lse, row_moments, sink_mass
from rl.attention.readers import ScoreReader
from rl.attention.structure import ProbeError

ALL = slice(0, 4)
SPANS = [[(start, start + 5) for start in range(10, 60, 5)], [(start, start + 7) for start in range(16, 50, 7)]]


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two sequences with repeated tokens, so that heads can copy: left-padded, and padded on both sides."""
    ids = torch.randint(3, 9, (2, 60), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 60, dtype=torch.long)
    mask[0, :7] = 0
    mask[1, :15], mask[1, 52:] = 0, 0
    response = mask.clone()
    response[:, :25] = 0
    return ids, mask, response


@pytest.mark.parametrize("family", ["qwen3", "mistral", "gemma2"])
def test_scores_are_those_of_dense_maps(family: str) -> None:
    model = models.build(family)
    ids, mask, response = batch()
    needle = [(12, 22), (18, 30)]
    found = head_scores(model, ids, mask, response, layers=[0, 2], sentences=SPANS, needle=needle)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    rows = response.bool()
    for layer, scores in found.items():
        a = maps[layer].double()
        first = [7, 15]
        sink = torch.stack([a[b, :, :, first[b]] for b in range(2)])
        for got, want in {
            scores.distance: dense.mean_distance(a),
            scores.entropy: dense.entropy(a),
            scores.sink: sink,
        }.items():
            expected = (want * rows[:, None]).sum((0, 2)) / rows.sum()
            torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-4)
        for head in range(4):
            # Fisher, biased: the public code's choice. Sequence 1 has 5 sentences, so one v_j: no spread, left out.
            expected = kurtosis(dense.received(a[0, head], SPANS[0], 4))
            assert scores.receiver is not None and scores.receiver[head] == pytest.approx(
                expected, rel=1e-3, nan_ok=True
            )
            shares = [dense.copied(a[b, head], ids[b].tolist(), rows[b].tolist(), needle[b]) for b in range(2)]
            assert scores.retrieval is not None and scores.retrieval[head] == pytest.approx(sum(shares) / 2)
    assert max(float(scores.retrieval.max()) for scores in found.values() if scores.retrieval is not None) > 0


def test_golden_moments() -> None:
    """Equal keys: row t spreads over t + 1 keys, so entropy log(t + 1), sink 1 / (t + 1)."""
    attention = Attention(q=torch.zeros(1, 1, 4, 2), k=torch.ones(1, 1, 4, 2), keys=torch.ones(1, 4).bool(), scale=1.0)
    lse = row_lse(attention, ALL)
    moments = row_moments(attention, lse, ALL)
    counts = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(moments.entropy[0, 0], counts.log())
    torch.testing.assert_close(sink_mass(attention, lse, ALL)[0, 0], 1 / counts)
    torch.testing.assert_close(moments.mass[0, 0], torch.ones(4))
    # Without key 0, rows keep 0, 1/2, 2/3, 3/4 of their attention, and distances 0; 0; 1/3; (1 + 2)/4.
    kept = row_moments(attention, lse, ALL, torch.tensor([[True, False, False, False]]))
    torch.testing.assert_close(kept.kept[0, 0], torch.tensor([0.0, 1 / 2, 2 / 3, 3 / 4]))
    torch.testing.assert_close(kept.distance[0, 0], torch.tensor([0.0, 0.0, 1 / 3, 3 / 4]))


def test_golden_received() -> None:
    """Sentences of one token, gap 1: v_0 = (1/2 + 1/3 + 1/4) / 3, v_1 = (1/3 + 1/4) / 2, v_2 = 1/4."""
    attention = Attention(q=torch.zeros(1, 1, 4, 2), k=torch.ones(1, 1, 4, 2), keys=torch.ones(1, 4).bool(), scale=1.0)
    found = received(attention, row_lse(attention, ALL), ALL, torch.arange(4)[None], 1)
    torch.testing.assert_close(found[0, 0, :3], torch.tensor([13 / 36, 7 / 24, 1 / 4]))
    assert found[0, 0, 3].isnan()


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles and large ones stream to the same sums, sliding window and padding included."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.ones(2, 200, dtype=torch.bool)
    keys[0, :11] = False
    q, k = (torch.randn(2, heads, 200, 8, generator=generator) for heads in (4, 2))
    attention = Attention(q=q, k=k, keys=keys, scale=0.5, sliding=70)
    rows, sentence = slice(20, 200), torch.arange(200).expand(2, 200) // 20
    found = []
    for limit in (1 << 13, 1 << 22):
        monkeypatch.setattr("rl.attention.moments.ELEMENTS", {"cpu": limit, "cuda": limit})
        lse = row_lse(attention, rows)
        moments = row_moments(attention, lse, rows)
        sums = (lse[..., rows], moments.distance, moments.entropy, received(attention, lse, rows, sentence, 2))
        found.append((*sums, moments.peak))
    for small, large in zip(*found, strict=True):
        torch.testing.assert_close(small, large, atol=1e-4, rtol=1e-5, equal_nan=True)


def test_other_keys_than_thought_are_noticed() -> None:
    """Under a mask that is not the causal one with padding every statistic were wrong: rows do not sum to 1."""
    model = models.build("llama")
    ids, mask, response = batch()
    blind = torch.ones(2, 1, 60, 60, dtype=torch.bool).tril() & (torch.rand(60, 60) < 0.7) | torch.eye(60).bool()
    attention = model.model.layers[1].self_attn
    forward = type(attention).forward

    def partly(hidden_states: torch.Tensor, attention_mask: torch.Tensor, **rest: object) -> tuple:
        return forward(attention, hidden_states, attention_mask=blind, **rest)

    attention.forward = partly
    with pytest.raises(ProbeError, match="layer 1 attends to other keys"):
        head_scores(model, ids, mask, response, layers=[0, 1])


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"sentences": [[(0, 5)]]}, "sentences: 1 lists of spans for 2 sequences"),
        ({"sentences": [[(0, 5), (3, 8)], []]}, r"sentences: \(3, 8\) of sequence 0 overlaps"),
        ({"sentences": [[(5, 5)], []]}, r"sentences: \(5, 5\) is no span of tokens in 0..60"),
        ({"needle": [(0, 61), (0, 2)]}, r"needle: \(0, 61\) is no span"),
        ({"needle": [(0, 2)]}, "needle: 1 spans for 2 sequences"),
    ],
)
def test_spans_that_do_not_fit_are_named(options: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        head_scores(models.build("qwen2"), *batch(), layers=[0], **options)


def test_without_sentences_there_is_no_receiver() -> None:
    scores = head_scores(models.build("qwen2"), *batch(), layers=[0], sentences=[[], []])[0]
    assert scores.receiver is not None and scores.receiver.isnan().all() and scores.distance.isfinite().all()


def test_sums_do_not_depend_on_the_split() -> None:
    model = models.build("qwen3")
    ids, mask, response = batch()
    whole, parts = (ScoreReader(response.bool(), sentences=SPANS) for _ in range(2))
    with torch.no_grad(), probe(model, [1], whole):
        model(input_ids=ids, attention_mask=mask)
    with torch.no_grad(), probe(model, [1], parts):
        model(input_ids=ids[:1], attention_mask=mask[:1])
        model(input_ids=ids[1:], attention_mask=mask[1:])
    for name, value in whole.sums[1].items():
        torch.testing.assert_close(parts.sums[1][name], value, atol=1e-5, rtol=1e-5)
