"""Anchors against slow references: sentence by sentence, row by row, prefixes by place, and the real command."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from reference import dense, models
from reference.command import rhythm

from rewards.sentences import overlaps
from rl import tiny
from rl.analysis.anchors.figures import Sentences
from rl.analysis.anchors.marked import Marked, mark
from rl.analysis.anchors.receivers import find_receivers
from rl.analysis.anchors.resampling import Rollout, compare, divergence, is_other, resample
from rl.analysis.anchors.suppression import dependents, importances, suppression
from rl.analysis.anchors.suppression import divergence as moved
from rl.analysis.traces import AnalysisError, Trace
from rl.attention import head_scores, suppress
from rl.policy import Policy, Written

QUESTION = "What is 3 + 4 - 5?"
TEXT = "<think>Let me see. First 3 + 4 = 7. Wait, hm. Let me see. Then 7 - 5 = 2. So it is 2.</think><answer>2</answer>"
LONG = TEXT.replace("So it", "Okay. Let me see. Now 7 - 5 = 2. So it")


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The embedded model with random weights, larger than they begin, so that attention is not even."""
    model = tiny.build_model(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.mul_(4)
    return Policy("here", model, tiny.build_tokenizer(), None, None, 0.0)


def marked(policy: Policy, text: str = TEXT, answer: str | None = "2") -> Marked:
    return mark(policy, Trace("here", QUESTION, text, True, answer))


def test_sentences_stand_where_they_are_said(policy: Policy) -> None:
    found = marked(policy)
    assert found.texts == [
        "<think>Let me see.",
        "First 3 + 4 = 7.",
        "Wait, hm.",
        "Let me see.",
        "Then 7 - 5 = 2.",
        "So it is 2.</think><answer>2</answer>",
    ]
    assert [policy.text(found.ids[start:stop]).strip() for start, stop in found.sentences] == found.texts
    with pytest.raises(AnalysisError, match="has no sentence"):
        marked(policy, " \n ")


def slow(policy: Policy, trace: Marked) -> list[list[float | None]]:
    """Effects from one pass a sentence and the definition row by row, in float64."""
    ids = torch.tensor([trace.ids])
    with torch.no_grad():
        base = policy.model(input_ids=ids, use_cache=False).logits[0].double()
    found: list[list[float | None]] = [[None] * len(trace.sentences) for _ in trace.sentences]
    for source, (start, stop) in enumerate(trace.sentences):
        hidden = torch.zeros(1, ids.shape[1], dtype=torch.bool)
        hidden[0, start:stop] = True
        with torch.no_grad(), suppress(policy.model, hidden):
            other = policy.model(input_ids=ids, use_cache=False).logits[0].double()
        for later in range(source + 1, len(trace.sentences)):
            logs = []
            for row in range(*trace.sentences[later]):
                p, q = (base[row] / 0.6).softmax(-1), (other[row] / 0.6).softmax(-1)
                kept, total = [], 0.0
                for token in p.argsort(descending=True).tolist():
                    if total >= 0.9999:
                        break
                    kept.append(token)
                    total += float(p[token])
                p, q = p[kept] / p[kept].sum(), q[kept] / q[kept].sum()
                logs.append(math.log(float((p * (p / q).log()).sum()) + 1e-9))
            found[later][source] = sum(logs) / len(logs)
    for row in found:
        known = [value for value in row if value is not None]
        mean = sum(known) / len(known) if known else 0.0
        row[:] = [None if value is None else value - mean for value in row]
    return found


@pytest.mark.parametrize("batch", [1, 4])
def test_effects_are_those_of_passes_sentence_by_sentence(policy: Policy, batch: int) -> None:
    trace, done = marked(policy, LONG), []
    found, want = suppression(policy, trace, batch=batch, heard=done.append), slow(policy, trace)
    assert sum(done) == len(trace.sentences) - 1
    for row, expected in zip(found, want, strict=True):
        assert [value is None for value in row] == [value is None for value in expected]
        for value, other in zip(row, expected, strict=True):
            assert value is None or value == pytest.approx(other, abs=2e-3)
    assert max(abs(value) for row in want for value in row if value is not None) > 0.2


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gpt_oss", "phi3"])
def test_any_family_has_effects(family: str) -> None:
    model = models.build(family, vocab_size=len(tiny.build_tokenizer()))
    own = Policy("here", model, tiny.build_tokenizer(), None, None, 0.0)
    found = suppression(own, marked(own), batch=4, heard=lambda _: None)
    values = [value for row in found for value in row if value is not None]
    assert len(values) == 15 and all(map(math.isfinite, values)) and max(values) > 0.1


def test_a_trace_of_one_sentence_has_no_effects(policy: Policy) -> None:
    assert suppression(policy, marked(policy, "So it is 2."), batch=4, heard=lambda _: None) == [[None]]


def test_divergence_is_that_of_the_likeliest_tokens() -> None:
    """At temperature 0.6, odds of e^2 and e^1 from logits 1.2 and 0.6; a token of e^-60 is left out of both."""
    base, other = torch.tensor([[1.2, 0.0, -36.0]]), torch.tensor([[0.6, 0.0, 30.0]])
    p, q = math.exp(2) / (1 + math.exp(2)), math.exp(1) / (1 + math.exp(1))
    want = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert moved(base, other).item() == pytest.approx(want, rel=1e-5)
    assert moved(base, base).item() == 0.0


def test_what_is_said_of_a_matrix() -> None:
    matrix = [[None, None, None], [0.0, None, None], [0.5, -0.5, None]]
    assert importances(matrix) == [0.25, -0.5, None]
    assert dependents(matrix, 0, 3) == [2] and dependents(matrix, 1, 3) == []
    assert Sentences(["a", "b", "c"], importances(matrix), [None] * 3, [[2], [], []]).shades == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("batch", [1, 2])
def test_receivers_are_the_heads_of_highest_kurtosis(policy: Policy, batch: int) -> None:
    """Scores as head_scores gives them of each trace, and what sentences get as dense maps say."""
    traces = [marked(policy, LONG), marked(policy, LONG.replace("Wait, hm.", "Wait, hm. Hmm. Okay.")), marked(policy)]
    layers = list(range(6))
    found = find_receivers(policy, traces, layers, batch=batch, heard=lambda _: None)
    each = []
    for trace in traces[:2]:  # the third has too few sentences for a score, and counts in no mean
        ids, response = torch.tensor([trace.ids]), torch.zeros(1, len(trace.ids), dtype=torch.bool)
        response[0, len(trace.prompt) :] = True
        scores = head_scores(
            policy.model, ids, torch.ones_like(ids), response, layers=layers, sentences=[trace.sentences]
        )
        each.append({(layer, head): float(scores[layer].receiver[head]) for layer in layers for head in range(4)})
    for head, score in found.scores.items():
        assert score == pytest.approx((each[0][head] + each[1][head]) / 2, abs=1e-2)
    assert list(found.heads) == sorted(found.scores, key=lambda head: -found.scores[head])[:3]  # a tenth of 24
    policy.model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = policy.model(input_ids=torch.tensor([traces[0].ids]), output_attentions=True).attentions
    policy.model.set_attn_implementation("sdpa")
    own = [dense.received(maps[layer][0, head].double(), list(traces[0].sentences), 4) for layer, head in found.heads]
    count = len(own[0])
    assert found.received[0][count:] == [None] * 4
    assert found.received[0][:count] == pytest.approx([sum(values) / 3 for values in zip(*own, strict=True)], rel=1e-3)


class Recorder(Policy):
    """A policy that keeps what it was asked to go on from, and always says the same."""

    asked: list[list[int]]

    def write(self, starts: Sequence[Sequence[int]], most: Sequence[int], temperature: float, **options: float):
        assert temperature == 0.6 and options == {"top_p": 0.95}
        self.asked += [list(start) for start in starts]
        return [Written(self.ids(" So it is 3.</think><answer>3</answer>"), False) for _ in starts]


def test_prefixes_are_cut_by_place(policy: Policy) -> None:
    """`Let me see.` is said twice, and goes once each time."""
    own = Recorder("here", policy.model, policy.tokenizer, None, None, 0.0)
    own.asked = []
    trace = marked(own)
    options = {"likeness": overlaps, "max_tokens": 40, "batch": 2, "seed": 0, "heard": lambda _: None}
    found = resample(own, trace, 3, judge=lambda _, gold, said: f"<answer>{gold}<" in said, **options)
    told = [own.text(asked[len(trace.prompt) :]) for asked in own.asked]
    wanted = [TEXT[: TEXT.index(text)] for text in trace.texts]
    wanted[3] = TEXT[: TEXT.rindex("Let me see.")]
    assert [text.rstrip() for text in told] == [text.rstrip() for text in wanted for _ in range(3)]
    last = found[-1]  # the trace's own answer is right, and every rollout is wrong
    assert (last.accuracy_with, last.accuracy_without, last.importance) == (1.0, 0.0, 1.0)
    assert [one.importance for one in found[:-1]] == [0.0] * 5 and found[0].different == 3


def test_what_a_sentence_changes_is_told_by_hand() -> None:
    rollouts = [Rollout("So it is 7.", "7", True), Rollout(" First 3 + 4 = 7. Then", "2", False)]
    behind = [Rollout("", "7", True), Rollout("", "7", True), Rollout("", "1", False), Rollout("", "1", False)]
    found = compare("First 3 + 4 = 7.", rollouts, behind, overlaps)
    assert (found.different, found.accuracy_with, found.accuracy_without, found.importance) == (1, 0.5, 1.0, -0.5)
    unjudged = [Rollout(one.written, one.answer, None) for one in rollouts]
    found = compare("First 3 + 4 = 7.", unjudged, [Rollout("", "7", None)] * 2, overlaps)
    assert found.accuracy_with is None and found.importance == 0.0  # KL of one answer with itself
    found = compare("So it is 7.", rollouts[:1], behind, overlaps)
    assert (found.different, found.importance) == (0, None)
    assert is_other("Go on.", "", overlaps) and not is_other("Go on now, please.", " Go on now, please. No.", overlaps)


def test_answers_diverge_as_hands_work_out() -> None:
    """2 and 0 of a, 0 and 1 of b, one more of each: 3/4, 1/4 against 1/3, 2/3."""
    want = 0.75 * math.log(0.75 * 3) + 0.25 * math.log(0.25 * 1.5)
    assert divergence(["a", "a"], ["b"]) == pytest.approx(want)


def test_top_p_leaves_the_likeliest(policy: Policy) -> None:
    start = list(marked(policy).prompt)
    torch.manual_seed(0)
    [greedy], [narrow] = policy.write([start], [8], 0.0), policy.write([start], [8], 1.0, top_p=1e-6)
    [wide] = policy.write([start], [8], 1.0)
    assert greedy == narrow != wide


def test_the_command_writes_what_it_says(policy: Policy, tmp_path: Path) -> None:
    model, data = tmp_path / "policy", tmp_path / "rows.jsonl"
    policy.model.save_pretrained(model)
    policy.tokenizer.save_pretrained(model)
    hostile = TEXT.replace("Wait, hm.", "Wait</script><script>x, hm.")
    rows = [{"question": QUESTION, "completion": text, "answer": "2"} for text in (LONG, hostile, "7. " * 600)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("analyze", "anchors", model, data, "--row", "2", "--resample", "1", "--max-tokens", "4")
    done = rhythm(*words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 traces, 15 sentences; 1 more are too long" in done.stdout and "anchors.html" in done.stdout
    said = json.loads((tmp_path / "out" / "anchors.json").read_text(encoding="utf-8"))
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "sentences.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == 15 and [line["resampled"] is None for line in lines] == [True] * 9 + [False] * 6
    assert said["resampling"]["likeness"] == {"kind": "lexical"} and len(said["receiver_heads"]) == 3
    assert [row[0] for row in said["matrix"][1:]] == lines[9]["effects"]
    assert lines[9]["effects"] == pytest.approx(
        [row[0] for row in suppression(policy, marked(policy, hostile), batch=4, heard=lambda _: None)[1:]], abs=1e-3
    )
    page = (tmp_path / "out" / "anchors.html").read_text(encoding="utf-8")
    assert "<script>x" not in page and 'class="passage"' in page and "Suppression matrix" in page
    for words, fault in (
        (("--row", "4"), "--row 4 is not among the 3 traces"),
        (("--row", "3"), "does not fit into the model's 512 tokens"),
    ):
        done = rhythm("analyze", "anchors", model, data, *words, "--out", tmp_path / "other")
        assert done.returncode == 2 and fault in done.stderr and not (tmp_path / "other").exists()
