"""Gaps and refocusing against slow references: one sequence at a time, one token at a time, dense attention maps."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import models
from reference.command import rhythm

from rewards.echoes import Rule
from rewards.sentences import overlaps
from rl import tiny
from rl.analysis.echo import Detector, Found, Measured, measure
from rl.analysis.summary import summarize
from rl.analysis.traces import Trace
from rl.data import Task, prompt
from rl.echo.boundary import token_span
from rl.echo.openings import Neutral
from rl.policy import Policy

DETECTOR = Detector(Rule(), overlaps)
QUESTION = "Tom has 3 apples. He buys 4 more. How many apples does he have?"
ECHO = "Okay. We are told: Tom has 3 apples. He buys 4 more. How many apples does he have?"
REST = "First, 3 + 4 = 7. So it is 7.</think><answer>7</answer>"
WITH, WITHOUT = f"<think>{ECHO} {REST}", f"<think>{REST}"


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The embedded model with random weights, larger than they begin, so that attention is not even."""
    model = tiny.build_model(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.mul_(4)
    return Policy("here", model, tiny.build_tokenizer(), "Be brief.", None, 0.0)


def one(policy: Policy, completion: str) -> Measured:
    trace = Trace("here", QUESTION, completion, True)
    [found] = measure(policy, [trace], DETECTOR, batch=8, heard=lambda _: None).measured
    return found


def slow_log_probs(policy: Policy, completion: str) -> list[float]:
    """Each token's log-prob from a pass of its own that ends before it."""
    messages = prompt(Task("here", QUESTION, ""), policy.system)
    text = policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    seen, found = policy.ids(str(text)), []
    for token in policy.ids(completion):
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([seen]), use_cache=False).logits[0, -1].double()
        found.append(float(logits.log_softmax(-1)[token]))
        seen.append(token)
    return found


def test_gaps_are_those_of_passes_token_by_token(policy: Policy) -> None:
    found = one(policy, WITH)
    whole, short = slow_log_probs(policy, WITH), slow_log_probs(policy, WITHOUT)
    assert found.log_prob == pytest.approx(sum(whole) / len(whole), abs=1e-4)
    gap = sum(whole) / len(whole) - sum(short) / len(short)
    assert abs(gap) > 0.01 and found.gap == pytest.approx(gap, abs=1e-4)
    same = len(policy.ids(REST.removeprefix("First")))  # " First" and "First" are two tokens, what follows is the same
    assert policy.ids(WITH)[-same:] == policy.ids(WITHOUT)[-same:]
    assert policy.ids(WITH)[-same - 1] != policy.ids(WITHOUT)[-same - 1]
    suffix_gap = sum(whole[-same:]) / same - sum(short[-same:]) / same
    assert abs(suffix_gap) > 0.01 and found.suffix_gap == pytest.approx(suffix_gap, abs=1e-4)


def test_without_an_echo_the_gaps_are_nought(policy: Policy) -> None:
    found = one(policy, WITHOUT)
    assert (found.gap, found.suffix_gap, found.num_echo_tokens) == (0.0, 0.0, 0)
    assert found.attention is None and found.control is None
    assert found.log_prob == pytest.approx(sum(slow_log_probs(policy, WITHOUT)) / found.num_tokens, abs=1e-4)


@pytest.mark.parametrize("completion", [ECHO, f"<think>{ECHO}", f"<think>\n{ECHO}\n"])
def test_nothing_but_an_echo_has_no_gap(policy: Policy, completion: str) -> None:
    found = one(policy, completion)
    assert found.gap is None and found.suffix_gap is None and found.attention is None
    assert found.num_echo_tokens >= len(policy.ids(ECHO)) - 1


def test_refocusing_is_that_of_dense_maps(policy: Policy) -> None:
    found = one(policy, WITH)
    shown = str(
        policy.tokenizer.apply_chat_template(
            prompt(Task("here", QUESTION, ""), policy.system), add_generation_prompt=True, tokenize=False
        )
    )
    start = shown.index(QUESTION)
    before, question = token_span(policy.tokenizer, shown, (start, start + len(QUESTION)))
    ids, echo = token_span(policy.tokenizer, WITH, (len("<think>"), len("<think>") + len(ECHO)))
    assert policy.text(ids[slice(*echo)]) == ECHO and policy.text(before[slice(*question)]) == QUESTION
    assert found.num_echo_tokens == echo[1] - echo[0]
    policy.model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = policy.model(input_ids=torch.tensor([before + ids]), output_attentions=True).attentions
    policy.model.set_attn_implementation("sdpa")
    assert found.attention == {
        layer: pytest.approx(mass, abs=1e-5) for layer, mass in dense(maps, len(before), echo, question).items()
    }


def dense(maps: Any, at: int, opening: tuple[int, int], question: tuple[int, int]) -> dict[int, tuple[float, float]]:
    """Return by layer the mean of what the rows behind an opening give it, and the question, from whole maps."""
    found = {}
    for layer, a in enumerate(maps):
        rows = a[0, :, at + opening[1] :].double()
        told = rows[:, :, at + opening[0] : at + opening[1]].sum(-1).mean()
        found[layer] = float(told), float(rows[:, :, slice(*question)].sum(-1).mean())
    return found


def test_the_control_is_as_long_and_what_follows_is_the_same(policy: Policy) -> None:
    """Behind the neutral words stand the very words that stand behind the echo, and what they look at is measured."""
    found = one(policy, WITH)
    neutral = Neutral(lambda text: len(policy.ids(text)))
    told = neutral.before(WITHOUT, len(policy.ids(WITH)))
    assert told.endswith(REST) and told.startswith("<think>Okay, this wants some care.") and "Tom" not in told
    characters = (len("<think>"), len(told.removesuffix(REST).rstrip()))
    ids, opening = token_span(policy.tokenizer, told, characters)
    assert policy.text(ids[slice(*opening)]) == told[slice(*characters)]
    assert abs(len(ids) - len(policy.ids(WITH))) <= 2
    shown = policy.prompt(Task("here", QUESTION, ""))
    start = shown.index(QUESTION)
    before, question = token_span(policy.tokenizer, shown, (start, start + len(QUESTION)))
    policy.model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = policy.model(input_ids=torch.tensor([before + ids]), output_attentions=True).attentions
    policy.model.set_attn_implementation("sdpa")
    assert found.control == {
        layer: pytest.approx(mass, abs=1e-5) for layer, mass in dense(maps, len(before), opening, question).items()
    }
    assert found.control != found.attention


def test_a_reasoning_that_the_template_opens_ends_where_it_closes(policy: Policy) -> None:
    """The echo is the same, whether the completion or the template writes <think>; it never holds the answer."""
    tokenizer = tiny.build_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template) + "{{ '<think>' }}"
    opened = Policy("here", policy.model, tokenizer, "Be brief.", None, 0.0)
    for text in (f"{ECHO}</think><answer>7</answer>", f"{ECHO} {REST}"):
        found, again = one(opened, text), one(opened, f"<think>{text}")
        assert found == again and found.num_echo_tokens == one(policy, f"<think>{text}").num_echo_tokens
        assert found.gap is not None and found.attention is not None
        assert found.num_echo_tokens <= len(opened.ids(ECHO))


def test_what_is_too_long_is_counted_and_left_out(policy: Policy) -> None:
    traces = [Trace("here", QUESTION, text, None) for text in (WITH, "7" * 600)]
    found = measure(policy, traces, DETECTOR, batch=8, heard=lambda _: None)
    assert len(found.measured) == 1 and found.too_long == 1
    room = 512 - len(policy.ids(policy.prompt(Task("here", QUESTION, ""))))
    text = WITH + "7" * (room - len(policy.ids(WITH)))
    assert len(policy.ids(text)) == room  # the control, a token longer, does not fit; the gaps stand all the same
    [whole] = measure(policy, [Trace("here", QUESTION, text, None)], DETECTOR, batch=8, heard=lambda _: None).measured
    assert whole.gap is not None and whole.num_tokens == room


def test_layers_that_have_no_attention_are_left_out() -> None:
    """A model with layers of linear attention: the gaps are there, and the attention of the layer that has any."""
    model = models.build("qwen3_next", vocab_size=len(tiny.build_tokenizer()))
    policy = Policy("here", model, tiny.build_tokenizer(), None, None, 0.0)
    found = one(policy, WITH)
    assert found.attention and found.control and sorted(found.attention) == sorted(found.control) == [1]
    assert found.gap


def test_batches_change_nothing(policy: Policy) -> None:
    texts = [WITH, WITHOUT, f"<think>{ECHO}", WITH.replace("So it is 7.", "Hm. " * 20), "7", WITHOUT + " Hm."]
    traces = [Trace("here", QUESTION, text, None) for text in texts]
    alone, together = (measure(policy, traces, DETECTOR, batch=size, heard=lambda _: None) for size in (1, len(texts)))
    alone, together = alone.measured, together.measured
    for left, right in zip(alone, together, strict=True):
        assert left.log_prob == pytest.approx(right.log_prob, abs=1e-4)
        assert left.gap == pytest.approx(right.gap, abs=1e-4) and left.suffix_gap == pytest.approx(
            right.suffix_gap, abs=1e-4
        )
        for layer, mass in (left.attention or {}).items():
            assert (right.attention or {})[layer] == pytest.approx(mass, abs=1e-5)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.text(alphabet="aé 7\n.<>&", max_size=40), st.data())
def test_token_spans_share_a_text_out(text: str, data: st.DataObject) -> None:
    tokenizer = tiny.build_tokenizer()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    ids, (first, last) = token_span(tokenizer, text, (start, stop))
    assert 0 <= first <= last <= len(ids)
    assert len(tokenizer.decode(ids[:first]).replace("\ufffd", "")) <= len(text)
    assert token_span(tokenizer, text, (0, len(text)))[1] == (0, len(ids))


def measured(question: str, correct: bool | None, gap: float, echo: int = 10) -> Measured:
    return Measured("here", question, correct, 30, echo, -1.0, gap, gap / 2, {0: (0.4, 0.2)}, {0: (0.3, 0.2)})


def test_what_is_said_of_all() -> None:
    rows = [measured("a", True, 1.0), measured("a", True, 3.0), measured("b", False, 0.5), measured("c", None, 2.0)]
    rows.append(Measured("here", "d", True, 30, 0, -1.0))
    summary = summarize(Found(rows, 2))
    assert (summary.traces, summary.too_long, summary.with_echo, summary.right, summary.wrong) == (5, 2, 4, 3, 1)
    gap = summary.figures["gap"]
    assert gap.every and gap.every.mean == pytest.approx(6.5 / 4) and gap.every.count == 4
    assert gap.right and (gap.right.mean, gap.right.low) == (2.0, None)  # one question has no interval
    assert gap.difference and (gap.difference.mean, gap.difference.low) == (pytest.approx(1.5), None)
    mass = summary.attention["opening"][0]
    assert mass.difference.mean == pytest.approx(0.1) and mass.difference.low == pytest.approx(0.1)
    assert isinstance(summary.regression, str) and "too few" in summary.regression


def test_the_command_writes_what_it_says(policy: Policy, tmp_path: Path) -> None:
    model = tmp_path / "policy"
    policy.model.save_pretrained(model)
    policy.tokenizer.save_pretrained(model)
    rows = [{"question": QUESTION, "completion": WITH, "answer": "7"}]
    rows.append({"question": QUESTION, "completion": WITHOUT.replace("<answer>7", "<answer>8"), "answer": "7"})
    rows.append({"question": "What is 2 + 5?", "completion": "<think>What is 2 + 5? It is 7.</think>", "correct": None})
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = rhythm("analyze", "echo", model, data, "--system", "Be brief.", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "3 traces, 2 with an echo; 1 right, 1 wrong" in done.stdout and "no regression" in done.stdout
    summary = json.loads((tmp_path / "out" / "echo.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "traces.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["correct"] for line in lines] == [True, False, None]
    assert lines[0]["gap"] == pytest.approx(one(policy, WITH).gap, abs=1e-4) and lines[1]["gap"] == 0.0
    assert summary["figures"]["gap"]["right"]["mean"] == pytest.approx(lines[0]["gap"])
    again = rhythm("analyze", "echo", model, data, "--out", tmp_path / "out")
    assert again.returncode == 2 and "is never overwritten" in again.stderr
    assert "Refocusing" in (tmp_path / "out" / "echo.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("rows.txt", "", "rows.txt: should end in one of .parquet, .jsonl, .json"),
        ("rows.jsonl", "", "holds no rows"),
        ("rows.jsonl", "{", "rows.jsonl:1: not valid JSON"),
        (
            "rows.jsonl",
            '{"question": "q"}',
            "column 'completion' should hold text; columns there: question",
        ),
        ("rows.jsonl", '{"question": "q", "completion": "c", "correct": 1}', "column 'correct' should be true"),
        ("rows.jsonl", '{"question": "q", "completion": "\\ud800"}', "rows.jsonl:1: column 'completion' holds half of"),
    ],
)
def test_bad_data_is_named(policy: Policy, tmp_path: Path, name: str, text: str, fault: str) -> None:
    from rich.console import Console

    from rl.analysis.analyze import analyze_echo
    from rl.recipe.sections import Recipe

    model, data = tmp_path / "policy", tmp_path / name
    policy.model.save_pretrained(model)
    policy.tokenizer.save_pretrained(model)
    data.write_text(text + "\n" * bool(text), encoding="utf-8")
    options = {"system": None, "limit": None, "batch": 4, "seed": 0, "console": Console(quiet=True)}
    with pytest.raises(ValueError, match=fault.replace("(", r"\(")):
        analyze_echo(str(model), data, Recipe(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
