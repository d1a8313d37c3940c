"""Every shipped recipe runs two real steps on the embedded model, under one file of smaller settings."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from reference.command import FEW_ROWS, overrides, rhythm
from reference.served import judge_server
from rich.console import Console

from rl.dashboard.panels import sections
from rl.dashboard.workspace import pattern
from rl.judge import Audit
from rl.recipe import Recipe, load, shipped_names
from rl.run import train
from rl.telemetry.jsonl import read_rows

TINY = Path(__file__).resolve().parents[1] / "reference" / "tiny.yaml"
ELSEWHERE = (
    "mathematics",
    "effort",
    "crossthink",
    "zebra",
)  # data of the hub, of the user's, or too long for a small model
SIZED = re.compile(r"-[\d.]+b$")  # another model, which is replaced here: tests/end_to_end/test_headers.py
SHORT_JUDGE = Audit((("user", "q"),), "reasoning", None)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with judge_server(tmp_path_factory.mktemp("judge"), "<label>unsafe</label>", [SHORT_JUDGE]) as server:
        yield server


@pytest.fixture
def changes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """What a recipe needs beside the file: rows in place of the hub's, a server in place of a real judge's."""
    if name.startswith(ELSEWHERE):
        rows = [{"q": f"What is {i} + 1?", "a": f"{i + 1}"} for i in range(8)]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return [f"data={{kind: jsonl, path: {path}, question: q, answer: a}}"]
    if "echo" in name:
        rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(8)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        made = [{**row, "completion": f"<think>{row['question']}</think><answer>1</answer>"} for row in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), tmp_path / "made.parquet")
        source = f"data={{kind: jsonl, path: {tmp_path}/rows.jsonl, answer_after: '####'}}"
        own = [source] if name.startswith("echo") else []
        return [*own, f"stages.sft.data.path={tmp_path}/made.parquet"]
    if name.startswith("small"):
        return ["model.name=small", "stages.sft.trainer.max_length=640", FEW_ROWS]  # its own length
    if name.startswith("quickstart") or name == "tiny-effort":
        return [FEW_ROWS]
    if name.startswith("society"):
        return ["stages.sft.data.limit=32", "stages.sft.data.options.max_numbers=3"]  # what the small context holds
    if name == "monitor-judge":
        url, model = request.getfixturevalue("judge")
        monkeypatch.setenv("RHYTHM_JUDGE_KEY", "a-key")
        return [f"monitor.url={url}", f"monitor.model={model}"]
    return []


@pytest.mark.parametrize("name", [name for name in shipped_names() if not SIZED.search(name)])
def test_a_recipe_trains(name: str, changes: list[str], tmp_path: Path) -> None:
    recipe: Recipe = load(name, changes, [str(TINY)])
    assert recipe.model.name in ("tiny", "small")
    assert [stage.trainer.steps for stage in recipe.stages] == [2] * len(recipe.stages)
    with (tmp_path / "said").open("w", encoding="utf-8") as said:
        train(recipe, tmp_path / "run", resume=False, console=Console(file=said))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage.name, step) for stage in recipe.stages for step in (1, 2)
    ]
    for stage in recipe.stages:
        last = [row for row in rows if row["stage"] == stage.name][-1]
        assert last["optimizer/loss/mean"] is not None
        if stage.trainer.kind == "ppo":
            assert ("critic/loss/mean" in last) == (last["reward/unjudged/share"] < 1.0)
            beside = tmp_path / "run" / "checkpoints" / stage.name / "final" / "critic"
            assert (beside / "critic.safetensors").is_file()
        if stage.trainer.kind != "sft":
            parts = (stage.rewards or recipe.rewards).parts
            assert all(f"reward/{part}/mean" in last or last[f"reward/{part}/unjudged"] == 1.0 for part in parts)
            assert last["reward/unjudged/share"] <= 1.0 and "reward/errors/count" not in last
            assert ("monitor/unparsed/share" in last) == (recipe.monitor is not None)
            assert ("effort/length/mean" in last) == (recipe.effort is not None)
    assert (tmp_path / "run" / "report.html").is_file()
    check_dashboard(recipe, rows)


# What an untrained policy has none of: it writes no label, is never right, and all its returns may be alike.
UNTRAINED = {
    "monitor/own_violation/share",
    "monitor/agreement/share",
    "monitor/violation/share",
    "heads/retained/share",
    "critic/explained_variance/mean",
    "reward/total/std",
}
OF_TRL = "trl/*"  # TRL's own, under its own names


def check_dashboard(recipe: Recipe, rows: list[dict]) -> None:
    """Every metric has a place on the recipe's dashboard, and every panel has a metric."""
    emitted = {key for row in rows for key, value in row.items() if value is not None} - {"stage", "step"}
    panels = [panel for own in sections(recipe).values() for panel in own if panel.draws in ("lines", "areas")]
    known = re.compile(pattern([OF_TRL, *(key for panel in panels for key in panel.keys)]))
    assert [key for key in sorted(emitted) if not known.fullmatch(key)] == []
    wanted = {key for panel in panels if not panel.rare for key in panel.keys} - UNTRAINED
    empty = [key for key in sorted(wanted) if not any(re.fullmatch(pattern([key]), one) for one in emitted)]
    judged = rows[-1].get("reward/unjudged/share", 0.0) < 1.0
    assert not [key for key in empty if judged or not key.startswith(("critic/", "reward/"))]


def test_an_outer_judge_through_the_command(judge: tuple[str, str], tmp_path: Path) -> None:
    """Its answers are in the run directory, its key is nowhere; without a key nothing is written."""
    url, model = judge
    words = ["train", "monitor-judge", "--with", TINY, "--run-dir", tmp_path / "run"]
    words += overrides(f"monitor.url={url}", f"monitor.model={model}")
    refused = rhythm(*words, RHYTHM_JUDGE_KEY="")
    assert refused.returncode == 2 and "the environment has no RHYTHM_JUDGE_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr and not (tmp_path / "run").exists()
    done = rhythm(*words, RHYTHM_JUDGE_KEY="sk-very-secret")
    assert done.returncode == 0, done.stdout + done.stderr
    answers = read_rows(tmp_path / "run" / "judge.jsonl")
    assert answers and all(set(row) == {"key", "answer"} for row in answers)
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert b"sk-very-secret" not in written and "sk-very-secret" not in done.stdout + done.stderr


def test_an_overlay_passes_over_stages_that_a_recipe_has_not(tmp_path: Path) -> None:
    assert [stage.name for stage in load("monitor-sft", [], [str(TINY)]).stages] == ["sft"]
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text("stages: {grop: {trainer: {steps: 2}}}\n", encoding="utf-8")
    done = rhythm("check", "quickstart", "--with", misspelt)
    assert done.returncode == 2 and "the recipe has none of these stages; it has sft, grpo" in done.stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text("base: quickstart\n", encoding="utf-8")
    done = rhythm("check", "quickstart", "--with", bad)
    assert done.returncode == 2 and f"{bad}: base: has no place in an overlay" in done.stderr
