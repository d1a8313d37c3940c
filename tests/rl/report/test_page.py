"""Test what the report reads and computes, without a browser."""

import json
import math
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from reference.runs import make_run

from rl.report import write_report
from rl.report.curves import running_mean, stage_figures
from rl.report.emergence import head_cards
from rl.report.heads import SNAPSHOT_LIMIT, measured, pack_gaze, pack_heads
from rl.report.page import embed
from rl.report.rundata import by_stage, number, read_run
from rl.report.samples import SAMPLE_LIMIT, pack_samples
from rl.report.summary import duration, flatten, tiles


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "demo", samples=40)


def _inked(value: Any) -> Any:
    """Put a plain colour where a figure names one, so that plotly's own checks accept it."""
    text = re.sub(r'"\$[a-z]+(/[\d.]+)?"', '"#123456"', json.dumps(value))
    return json.loads(text)


def test_number_rounds_floats_and_refuses_what_json_cannot_hold() -> None:
    assert [number(x) for x in (0.123456, 7, -1e-9, True, "3", None)] == [0.1235, 7, -1e-9, None, None, None]
    assert [number(x) for x in (math.nan, math.inf, 10**400)] == [None, None, None]


def test_a_torn_last_line_is_left_out_without_a_word(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert len(run.metrics) == 300 and "metrics" not in run.notes


def test_an_unreadable_line_in_the_middle_is_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"stage":"a","step":1}\n\xff{nonsense\n[1]\n{"stage":"a","step":2}\n')
    run = read_run(tmp_path)
    assert [row["step"] for row in run.metrics] == [1, 2]
    assert run.notes["metrics"] == "metrics.jsonl: 2 unreadable lines left out."


def test_a_resumed_run_repeats_steps_and_the_last_word_holds(tmp_path: Path) -> None:
    steps = [("b", 1, 1), ("b", 2, 2), ("b", 1, 9), ("a", 1, 4)]
    lines = [json.dumps({"stage": stage, "step": step, "x": value}) for stage, step, value in steps]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert [(row["stage"], row["step"], row["x"]) for row in read_run(tmp_path).metrics] == [
        ("b", 1, 9),
        ("b", 2, 2),
        ("a", 1, 4),
    ]


def test_running_mean_skips_what_is_absent() -> None:
    assert running_mean([None, 1, None, 3, 5], 2) == [None, 1, 1, 3, 4]


def test_every_figure_is_one_that_plotly_accepts(run_dir: Path) -> None:
    run = read_run(run_dir)
    cards = [card for rows in by_stage(run.metrics).values() for card in stage_figures(rows)]
    assert [card["title"] for card in cards] == [
        "Loss",
        "Token accuracy",
        "Entropy",
        "Reward",
        "Completion length",
        "Entropy",
        "Credit",
        "Drift and clipping",
    ]
    heads = head_cards(measured(run.heads)["probe"], run.metrics)
    assert [card["title"] for card in heads] == ["Turnover", "Cohorts"]
    for card in cards + heads:
        go.Figure(_inked(card["figure"]))


def head_row(**changes: Any) -> dict[str, Any]:
    row = {"stage": "grpo", "step": 5, "source": "probe", "score": "sink", "layer": 2, "values": [0.25, None, 0.75]}
    return {**row, **changes}


def test_heads_are_packed_by_source_and_snapshot_with_their_kinds() -> None:
    rows = [
        head_row(),
        head_row(layer=7, values=[0.5, 0.6]),
        head_row(layer=7, score="retrieval", values=[0.2, 0.7]),
        head_row(step=9, source="rollouts"),
        head_row(step="x"),
        head_row(source="nowhere"),
        head_row(values=3),
        {},
    ]
    packed = pack_heads(measured(rows))
    assert (packed["layers"], packed["heads"], list(packed["sources"])) == ([2, 7], 3, ["probe", "rollouts"])
    (snapshot,) = packed["sources"]["probe"]
    assert snapshot["name"] == "grpo step 5"
    assert snapshot["scores"]["sink"] == [[0.25, None, 0.75], [0.5, 0.6, None]]
    assert snapshot["scores"]["retrieval"] == [[None, None, None], [0.2, 0.7, None]]
    assert snapshot["kinds"] == [[[], [], ["sink"]], [["retrieval"], ["retrieval", "sink"], []]]


def test_snapshots_of_a_long_run_are_thinned_with_the_last_among_them() -> None:
    packed = pack_heads(measured([head_row(step=step) for step in range(1, 1001)]))
    names = [snapshot["name"] for snapshot in packed["sources"]["probe"]]
    assert len(names) == SNAPSHOT_LIMIT and (names[0], names[-1]) == ("grpo step 1", "grpo step 1000")


def test_cohorts_count_heads_by_the_snapshot_that_first_had_them() -> None:
    """Head 0 is a sink at the base and at the end, head 2 from step 10 on, head 1 only at step 20."""
    values = {0: [0.9, 0, 0], 10: [0, 0, 0.9], 20: [0.9, 0.9, 0.9]}
    rows = [head_row(step=step, values=row) for step, row in values.items()]
    (cohorts,) = head_cards(measured(rows)["probe"], [])
    bars = {bar["name"]: bar["y"] for bar in cohorts["figure"]["data"]}
    assert bars == {"at the base": [1, 0, 1], "grpo step 10": [0, 1, 1], "grpo step 20": [0, 0, 1]}


def test_turnover_stands_below_the_reward_of_the_same_steps() -> None:
    metrics = [{"stage": "sft", "step": step} for step in (1, 2)] + [
        {"stage": "grpo", "step": step, "reward/total/mean": step / 10} for step in (1, 2)
    ]
    metrics[1]["heads/turnover/share"] = 0.4
    metrics[3] |= {"heads/turnover/share": 0.2, "heads/drifted/share": 0.5}
    (card,) = head_cards([], metrics)
    told = {line["name"]: (line["x"], line["y"]) for line in card["figure"]["data"]}
    assert told == {"turnover": ([2, 4], [0.4, 0.2]), "drifted": ([4], [0.5]), "reward": ([3, 4], [0.1, 0.2])}


def test_a_gaze_that_is_damaged_is_left_out() -> None:
    whole = {"tokens": ["a"], "first": 0, "peaks": {"0": [[0]]}, "tops": {"0": [[1.0]]}, "stage": "sft", "step": 3}
    packed = pack_gaze(whole)
    assert packed is not None and packed["name"] == "sft step 3"
    damaged = ({"peaks": []}, {"peaks": {"0": [0]}}, {"tops": {"0": [[math.nan]]}}, {"tops": {"0": [["x"]]}})
    assert pack_gaze({}) is None and all(pack_gaze({**whole, **change}) is None for change in damaged)


def test_a_stage_of_nulls_and_one_step_still_draws() -> None:
    rows = [{"stage": "grpo", "step": 1, "reward/total/mean": 0.5, "policy/kl/mean": None, "odd": "text"}]
    assert [card["title"] for card in stage_figures(rows)] == ["Reward"]


def test_tiles_tell_the_rise_of_the_reward(run_dir: Path) -> None:
    run = read_run(run_dir)
    rows = by_stage(run.metrics)["grpo"]
    first, last = (sum(row["reward/total/mean"] for row in part) / 10 for part in (rows[:10], rows[-10:]))
    tile = tiles(run)[0]
    assert (float(tile["before"]), float(tile["value"])) == pytest.approx((first, last), abs=1e-3)
    assert tile["detail"].startswith(f"{last - first:+.3g}")


def test_a_large_run_is_thinned_evenly_and_says_so() -> None:
    rows = [{"stage": "grpo", "step": step, "tokens": []} for step in range(SAMPLE_LIMIT * 2)]
    packed, note = pack_samples(rows)
    assert [row["step"] for row in packed[:3]] == [0, 2, 4]
    assert note.startswith("Showing 2,000 of 4,000 samples")


def testembedded_json_holds_nothing_a_parser_could_act_on() -> None:
    hostile = "</script><!-- & \u2028\u2029 \ud800 \x00"
    text = str(embed({"a": hostile}))
    assert text.isascii() and not set(text) & set("<>&\x00")
    assert json.loads(text)["a"] == hostile


def test_flatten_keeps_every_value_of_a_nested_recipe() -> None:
    tree = {"seed": 1, "stages": [{"name": "sft", "trainer": {"kind": "x"}}], "empty": {}}
    stages = [("0.name", "sft"), ("0.trainer.kind", "x")]
    assert flatten(tree) == [("general", [("seed", "1"), ("empty", "{}")]), ("stages", stages)]


def test_duration_reads_like_speech() -> None:
    assert [duration(x) for x in (42, 600, 5_400, 9_000)] == ["42 s", "10 min", "1 h 30 min", "2 h 30 min"]


def test_the_page_is_replaced_whole_and_leaves_nothing_behind(run_dir: Path) -> None:
    before = {path.name for path in run_dir.iterdir()} | {"report.html"}
    page = write_report(run_dir)
    page.write_text("old")
    assert write_report(run_dir) == page == run_dir / "report.html"
    assert page.read_text().startswith("<!doctype html>")
    assert {path.name for path in run_dir.iterdir()} == before


def test_an_empty_directory_still_makes_a_page(tmp_path: Path) -> None:
    text = write_report(tmp_path).read_text()
    assert all(f"{name} is missing" in text for name in ("recipe.json", "metrics.jsonl", "samples.jsonl"))
