"""Influence against slow references: needles by dense maps, losses row by row, choices by hand, the real command."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from reference import dense
from reference.command import rhythm

from rl import tiny
from rl.analysis.influence import rows as files
from rl.analysis.influence.choose import choose
from rl.analysis.influence.needles import LEAD, NEEDLE, make_probes, retrieval_scores, strongest
from rl.analysis.influence.score import Read, influences, read_row
from rl.analysis.traces import AnalysisError
from rl.attention import uniform
from rl.data import DataError
from rl.policy import Policy

QUESTION, COMPLETION = "What is 3 + 4?", "<think>First 3 + 4 = 7. So it is 7.</think><answer>7</answer>"
HEADS = [(1, 2), (3, 0)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The embedded model with random weights, larger than they begin, so that attention is not even."""
    model = tiny.build_model(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.mul_(4)
    return Policy("here", model, tiny.build_tokenizer(), None, None, 0.0)


def test_probes_hide_a_needle_and_say_it_again(policy: Policy) -> None:
    tokens = policy.ids(COMPLETION * 3)
    probes = make_probes(tokens, 120, seed=0)
    assert probes == make_probes(tokens, 120, seed=0) != make_probes(tokens, 120, seed=1)
    for probe in probes:
        (start, stop), (again, end) = probe.needle, probe.response
        assert len(probe.ids) == 120 == end and stop - start == end - again == NEEDLE - LEAD
        assert probe.ids[start - LEAD : stop] == probe.ids[again - LEAD : end]
        assert set(probe.ids) <= set(tokens)
    assert probes[0].needle[0] == LEAD and probes[-1].needle[1] == 120 - NEEDLE
    hay = [*probes[3].ids[: probes[3].needle[0] - LEAD], *probes[3].ids[probes[3].needle[1] : 120 - NEEDLE]]
    assert any(hay == [(tokens * 9)[at + place] for place in range(len(hay))] for at in range(len(tokens)))


def test_retrieval_is_that_of_dense_maps(policy: Policy) -> None:
    probes = make_probes(policy.ids(COMPLETION * 3), 80, seed=0)[:4]
    found = retrieval_scores(policy, probes, [0, 2, 5], batch=3, heard=lambda _: None)
    want = dict.fromkeys(found, 0.0)
    policy.model.set_attn_implementation("eager")
    for probe in probes:
        with torch.no_grad():
            maps = policy.model(input_ids=torch.tensor([probe.ids]), output_attentions=True).attentions
        response = [probe.response[0] <= place < probe.response[1] for place in range(80)]
        for layer, head in want:
            want[layer, head] += dense.copied(maps[layer][0, head], list(probe.ids), response, probe.needle) / 4
    policy.model.set_attn_implementation("sdpa")
    assert found == pytest.approx(want) and max(want.values()) > 0


def test_the_strongest_heads_are_a_share_and_at_least_one() -> None:
    scores = {(layer, head): float(layer == 1) for layer in range(5) for head in range(8)}
    assert strongest(scores, 0.05) == [(1, 0), (1, 1)] and strongest(scores, 0.0) == [(1, 0)]


def test_a_row_is_read_as_it_will_be_trained_on(policy: Policy) -> None:
    row = {"question": QUESTION, "completion": COMPLETION, "body": "First 3 + 4 = 7."}
    whole, prompt, body = (
        read_row(policy, "here", one, text, 500)
        for one, text in ((row, None), ({"question": QUESTION}, None), (row, "body"))
    )
    said = [token for token, counted in zip(whole.ids, whole.counted, strict=True) if counted]
    assert policy.text(said) == QUESTION + COMPLETION and whole.ids[: len(prompt.ids)] == prompt.ids
    assert policy.text([t for t, counted in zip(prompt.ids, prompt.counted, strict=True) if counted]) == QUESTION
    assert policy.text(body.ids) == row["body"] and body.counted == [False] + [True] * (len(body.ids) - 1)
    short = read_row(policy, "here", row, None, 10)
    assert len(short.ids) == 10 and short.cut and not whole.cut
    for odd, text in (({"question": " "}, None), ({"a": 1}, "a"), ({"question": "\ud800"}, None)):
        with pytest.raises(AnalysisError, match="here: column"):
            read_row(policy, "here", odd, text, 10)


def loss(policy: Policy, row: Read) -> float:
    """The mean loss of a row's tokens from a pass of its own, token by token."""
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].double()
    log_probs = logits.log_softmax(-1)
    each = [-float(log_probs[at - 1, row.ids[at]]) for at in range(len(row.ids)) if row.counted[at]]
    return sum(each) / len(each)


@pytest.mark.parametrize("batch", [1, 3])
def test_influence_is_the_share_by_which_the_loss_grows(policy: Policy, batch: int) -> None:
    texts = [COMPLETION, "7", "So it is 7. " * 9, QUESTION, "Hm. " * 30, "First 3 + 4 = 7.", "1 + 1 = 2"] * 8
    rows = [read_row(policy, "here", {"text": text}, "text", 400) for text in texts]
    found = [score for part in influences(policy, iter(rows), HEADS, batch=batch) for score in part]
    assert len(found) == len(rows) and found[1] is None  # one token has nothing to predict it from
    for place in (0, 2, 3, 4, 5, 6):
        base = loss(policy, rows[place])
        with uniform(policy.model, HEADS):
            masked = loss(policy, rows[place])
        assert abs(masked - base) > 1e-3 and found[place] == pytest.approx((masked - base) / base, abs=1e-4)
        assert found[place + 49] == pytest.approx(found[place], abs=1e-5)


def test_choices_are_made_within_domains() -> None:
    scores = [0.1, 0.5, None, 0.3, 0.4, -1.0, None]
    kept, domains = choose(scores, ["a", "a", "a", "a", "a", "b", "c"], 0.5)
    assert kept == [False, True, False, False, True, True, False]
    assert (domains["a"].rows, domains["a"].unscored, domains["a"].kept, domains["a"].threshold) == (5, 1, 2, 0.4)
    assert domains["a"].quantiles["0.5"] == pytest.approx(0.35)
    assert domains["c"].kept == 0 and domains["c"].threshold is None and domains["c"].quantiles == {}
    assert choose([1.0, 1.0, 1.0], ["a"] * 3, 0.34)[0] == [True, False, False]


def test_columns_of_later_rows_are_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 2)
    path = tmp_path / "rows.jsonl"
    told: list[dict[str, Any]] = [{"a": 1}, {"b": "x"}, {"a": 2.5}, {"c": [1]}, {}]
    path.write_text("".join(json.dumps(row) + "\n" for row in told))
    schema, count = files.schema_of(path)
    assert count == 5 and schema.names == ["a", "b", "c"] and schema.field("a").type == pyarrow.float64()
    files.write_tables(files.chunks(path), schema, [0.5, None, 0.1, 0.2, 0.3], [True] + [False] * 3 + [True], tmp_path)
    rows = pyarrow.parquet.read_table(tmp_path / "top.parquet").to_pylist()
    assert [(row["a"], row["influence"]) for row in rows] == [(1.0, 0.5), (None, 0.3)]
    path.write_text('{"a": 1}\n{"a": "x"}\n')
    with pytest.raises(AnalysisError, match="a column holds values of several types"):
        files.schema_of(path)


def test_the_command_writes_what_it_says(policy: Policy, tmp_path: Path) -> None:
    model, data, out = tmp_path / "policy", tmp_path / "rows.parquet", tmp_path / "out"
    policy.model.save_pretrained(model)
    policy.tokenizer.save_pretrained(model)
    told = [COMPLETION, COMPLETION * 2, None, "So it is 7.", COMPLETION * 90]
    rows = [
        {"question": QUESTION, "completion": text, "id": place, "set": "ab"[place % 2]}
        for place, text in enumerate(told)
    ]
    schema = pyarrow.schema({"question": "string", "completion": "string", "id": "int16", "set": "string"})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), data)
    words = ("analyze", "influence", model, data, "--domain", "set", "--share", "0.5", "--batch", "2")
    done = rhythm(*words, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "retrieval heads: " in done.stdout and "1 rows were longer" in done.stdout
    scored = pyarrow.parquet.read_table(out / "scored.parquet")
    assert scored.schema.field("id").type == pyarrow.int16() and scored.num_rows == 5
    values = dict(zip(scored["id"].to_pylist(), scored["influence"].to_pylist(), strict=True))
    top = pyarrow.parquet.read_table(out / "top.parquet")["id"].to_pylist()
    best = sorted((0, 2, 4), key=lambda at: -values[at])[:2]
    assert top == sorted([*best, max((1, 3), key=lambda at: values[at])])
    said = json.loads((out / "influence.json").read_text())
    heads = [(layer, head) for layer, head, _ in said["heads"]]
    assert len(heads) == 1 and said["cut"] == 1 and said["domains"]["a"]["kept"] == 2
    [[score]] = influences(policy, [read_row(policy, "here", rows[2], None, 512)], heads, batch=1)
    assert values[2] == pytest.approx(score, abs=1e-5)
    assert sorted(path.name for path in out.iterdir()) == ["influence.json", "scored.parquet", "top.parquet"]


@pytest.mark.parametrize(
    ("name", "text", "words", "fault"),
    [
        ("rows.txt", "", (), "should end in .parquet or .jsonl"),
        ("rows.jsonl", "", (), "holds no rows"),
        ("rows.jsonl", "{\n", (), "rows.jsonl:1: not valid JSON"),
        ("rows.jsonl", '{"a": "x"}\n', (), "should have a column question, or one of text that --text names; there: a"),
        ("rows.jsonl", '{"question": "x", "influence": 1}\n', (), "has a column influence already"),
        ("rows.jsonl", '{"question": "x"}\n', ("--domain", "d"), "--domain d is no column; columns there: question"),
        ("rows.jsonl", '{"question": "x"}\n{"question": 3}\n', (), "a column holds values of several types"),
        (
            "rows.jsonl",
            '{"question": "x"}\n{"question": null}\n',
            (),
            "rows.jsonl:2: column 'question' should hold text",
        ),
        ("rows.parquet", "no", (), "cannot be read as Parquet"),
    ],
)
def test_bad_data_is_named(
    policy: Policy, tmp_path: Path, name: str, text: str, words: tuple[str, ...], fault: str
) -> None:
    from rich.console import Console

    from rl.analysis.influence.analyze import analyze_influence

    model, data = tmp_path / "policy", tmp_path / name
    policy.model.save_pretrained(model)
    policy.tokenizer.save_pretrained(model)
    data.write_text(text, encoding="utf-8")
    options: dict[str, Any] = dict.fromkeys(("text", "domain", "system", "limit"))
    options |= {"share": 0.2, "head_share": 0.05, "max_tokens": 64, "batch": 4, "seed": 0}
    options |= {"domain": words[1]} if words else {}
    with pytest.raises((AnalysisError, DataError), match=fault.replace("(", r"\(")):
        analyze_influence(str(model), data, tmp_path / "out", console=Console(quiet=True), **options)
    assert not (tmp_path / "out").exists()
