"""The command on a run of seconds: what it writes, that it goes on, what it leaves out and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.command import SHORT, overrides, rhythm
from reference.wordless import wordless
from safetensors.torch import load_file, save_file

from rl.attention import HeadError
from rl.circuits.attribute import attribute
from rl.circuits.interventions import arm_of, draw_controls, name_of, parse_heads
from rl.circuits.openings import read_openings
from rl.circuits.snapshots import find_snapshots, load_snapshot
from rl.circuits.study import Options, study
from rl.evaluation.results import results_of
from rl.recipe import resolve
from rl.recipe.sections import Recipe
from rl.telemetry.jsonl import read_rows
from rl.telemetry.record import read_recipe

CHANGES = (
    *SHORT,
    "checkpoints.keep=9",
    "stages.sft.trainer.learning_rate=3e-3",
    "telemetry.wandb.mode=disabled",
)
QUICK = ("--steps", "2", "--pairs", "4", "--opening", "4", "--micro-batch", "4")
NAMES = ["base", "sft-2", "sft-4", "grpo-2", "grpo-4", "grpo-6"]
OPTIONS = Options(pairs=4, opening=4, steps=2, micro_batch=4, top=5000, threshold=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "one"
    done = rhythm("train", "quickstart", "--run-dir", path, *overrides(*CHANGES))
    assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def recipe_of(run: Path) -> Recipe:
    return resolve(read_recipe(run), str(run))


def go(run: Path, stop_after: int | None = None, options: Options = OPTIONS) -> Any:
    calls: list[None] = []

    def heard() -> None:
        calls.append(None)
        if stop_after is not None and len(calls) == stop_after:
            raise KeyboardInterrupt

    recipe = recipe_of(run)
    return study(run, recipe, find_snapshots(run, recipe, None), options, run / "heads", lambda *_: None, heard)


def test_the_command_tells_of_every_checkpoint(run: Path) -> None:
    plan = rhythm("heads", run, "--dry-run", *QUICK)
    assert plan.returncode == 0 and not (run / "heads").exists() and "grpo-4" in plan.stdout, plan.stderr
    done = rhythm("heads", run, *QUICK)
    assert done.returncode == 0 and "4 pairs of openings" in done.stdout, done.stdout + done.stderr
    said = json.loads((run / "heads" / "heads.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in said["checkpoints"]] == NAMES
    rows = [row for row in read_rows(run / "metrics.jsonl") if row["stage"] == "grpo"]
    rewards = [row["reward/total/mean"] for row in rows]
    assert said["checkpoints"][4]["reward"] == pytest.approx((rewards[2] + rewards[3]) / 2)
    assert [one["reward"] for one in said["checkpoints"][:3]] == [None] * 3
    base = set(said["checkpoints"][0]["heads"])
    for one in said["checkpoints"][1:]:
        assert set(one["newly_active"]) == set(one["heads"]) - base
        assert set(one["retained"]) == set(one["heads"]) & base
    page = (run / "heads" / "heads.html").read_text(encoding="utf-8")
    assert "First emergence" in page and "Strongest edges of grpo-6" in page
    changed = rhythm("heads", run, *QUICK[2:], "--steps", "3")
    assert changed.returncode == 2 and "begun with other settings (steps)" in changed.stderr
    again = rhythm("heads", run, *QUICK, "--top", "3", "--threshold", "0")  # attributes nothing anew
    assert again.returncode == 0 and "12/12" not in again.stdout, again.stderr
    last = json.loads((run / "heads" / "heads.json").read_text(encoding="utf-8"))["checkpoints"][-1]
    assert last["edges"] == 3


def test_scores_are_those_of_the_checkpoint_and_the_fixed_pairs(run: Path) -> None:
    found = go(run)
    openings = read_openings(run / "heads")
    assert openings is not None and len(openings) == 4
    for place, trained in ((0, False), (3, True)):
        circuit = found.circuits[place]
        model = load_snapshot(circuit.snapshot, recipe_of(run))
        pairs = [one.pair(trained) for one in openings if one.differs]
        assert all(pair.clean != pair.corrupt for pair in pairs)
        torch.testing.assert_close(circuit.found.scores, attribute(model, pairs, steps=2, micro_batch=4).scores)
    first = openings[0]
    assert first.pair(trained=True).clean == tuple(first.prompt + first.trained) == first.pair(trained=False).corrupt
    model, ids = load_snapshot(found.circuits[0].snapshot, recipe_of(run)), list(first.prompt)
    for token in first.base:
        assert int(model(torch.tensor([ids])).logits[0, -1].argmax()) == token  # greedily
        ids.append(token)


def test_what_was_broken_off_goes_on_to_the_same(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    with pytest.raises(KeyboardInterrupt):
        go(run, stop_after=5)  # in the third snapshot
    there = sorted(path.stem for path in (run / "heads").glob("*.safetensors"))
    assert there == ["base", "sft-2"]
    (run / "heads" / "base.safetensors").write_bytes(b"cut")
    whole, again = go(other), go(run)
    for one, two in zip(whole.circuits, again.circuits, strict=True):
        assert one.found.scores.equal(two.found.scores) and one.edges == two.edges
    told = [path / "heads" / "heads.json" for path in (run, other)]
    assert told[0].read_text(encoding="utf-8") == told[1].read_text(encoding="utf-8")


def test_damaged_checkpoints_are_named_and_left_out(run: Path) -> None:
    weights = run / "checkpoints" / "grpo" / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    shutil.rmtree(run / "checkpoints" / "grpo" / "checkpoint-6")  # the final policy takes its place
    shutil.rmtree(run / "checkpoints" / "sft" / "checkpoint-2")
    kept = find_snapshots(run, recipe_of(run), None)
    assert [one.name for one in kept.snapshots] == ["base", "sft-4", "grpo-2", "grpo-6"]
    assert kept.snapshots[-1].path.endswith("final") and len(kept.faults) == 1
    assert "checkpoint-4 is damaged (model.safetensors has" in kept.faults[0]
    assert [one.name for one in find_snapshots(run, recipe_of(run), "sft").snapshots] == ["base", "sft-4"]


def test_adapters_are_merged_in_memory_and_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "adapters"
    lora = "model.lora={rank: 4, alpha: 8, dropout: 0.0, targets: all-linear}"
    done = rhythm("train", "quickstart", "--run-dir", path, *overrides(*CHANGES, lora, "stages.grpo.trainer.steps=2"))
    assert done.returncode == 0, done.stdout + done.stderr
    recipe = recipe_of(path)
    snapshots = find_snapshots(path, recipe, None).snapshots
    files = {file: file.read_bytes() for file in path.glob("checkpoints/**/*.safetensors")}
    base, last = (load_snapshot(one, recipe) for one in (snapshots[0], snapshots[-1]))
    assert type(base) is type(last) and snapshots[-1].name == "grpo-2"
    weights = [model.get_submodule("model.layers.0.self_attn.q_proj").weight for model in (base, last)]
    assert not weights[0].equal(weights[1])
    assert all(file.read_bytes() == before for file, before in files.items())


def test_openings_that_agree_are_told_of_with_a_remedy(run: Path) -> None:
    for file in run.glob("checkpoints/*/*/model.safetensors"):  # no stage has learned anything
        shutil.copy(run / "checkpoints" / "base" / "model.safetensors", file)
    done = rhythm("heads", run, *QUICK, "--stage", "grpo")
    assert done.returncode == 2 and "damaged" in done.stderr
    for manifest in run.glob("checkpoints/*/*/manifest.json"):
        shutil.rmtree(manifest.parent)
    done = rhythm("heads", run, *QUICK)
    assert done.returncode == 2 and "begin all 4 answers alike" in done.stderr and "--opening" in done.stderr
    assert "Traceback" not in done.stderr and not (run / "heads" / "settings.json").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--stage", "dpo"), "--stage dpo: the run has the stages sft, grpo"),
        (("--scale", "1.3"), "--scale and --heads go together"),
        (("--ablate", "1.2", "--heads", "1.2"), "--ablate is --scale 0"),
        (("--scale", "nan", "--heads", "1.2"), "--scale nan is no factor"),
        (("--ablate", "1.2", "--dry-run"), "--dry-run: of circuits; leave --ablate and --scale out"),
        (("--ablate", "1.x"), "'1.x' is no head; write LAYER.HEAD"),
        (("--ablate", "1.9"), "head 1.9: the layers of Qwen3ForCausalLM have heads 0 to 3"),
        (("--ablate", "circuit"), "tells of no circuit; let `rhythm heads` find it first"),
        (("--ablate", ",".join(f"{layer}.{head}" for layer in range(4) for head in range(4))), "too few for controls"),
    ],
)
def test_what_cannot_be_done_is_said(trained: Path, words: tuple[str, ...], fault: str) -> None:
    done = rhythm("heads", trained, *words)
    assert done.returncode == 2 and fault in done.stderr.replace("\n", " "), done.stderr
    assert "Traceback" not in done.stderr and not (trained / "heads" / "interventions").exists()


def test_an_intervention_is_an_evaluation_with_scaled_heads(run: Path) -> None:
    """A policy whose head's columns are set to 0 in its file answers as one whose head is ablated."""
    words = ("--limit", "4", "--max-tokens", "12", "--controls", "1", "--batch", "2")
    done = rhythm("heads", run, "--ablate", "0.1,0.2", *words)
    assert done.returncode == 0 and "control-1" in done.stdout, done.stdout + done.stderr
    folder = run / "heads" / "interventions" / "ablate-0.1,0.2"
    said = json.loads((folder / "intervention.json").read_text(encoding="utf-8"))
    assert [arm["name"] for arm in said["arms"]] == ["unchanged", "chosen", "control-1"]
    assert set(said["arms"][2]["heads"]) == {"0.0", "0.3"}  # of the same layer
    unchanged, chosen = (read_rows(folder / name / "generations.jsonl") for name in ("unchanged", "chosen"))
    assert [row["completion"] for row in unchanged] != [row["completion"] for row in chosen]
    change = said["arms"][1]["tokens"]["mean"]
    assert change == pytest.approx(sum(row["num_tokens"] for row in chosen) / 4 - 12)
    weights = run / "checkpoints" / "grpo" / "final" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.layers.0.self_attn.o_proj.weight"][:, 16:48] = 0
    save_file(tensors, weights, {"format": "pt"})
    again = rhythm("heads", run, "--ablate", "3.0", *words, "--out", run / "cut")
    assert again.returncode == 0, again.stderr
    cut = read_rows(run / "cut" / "interventions" / "ablate-3.0" / "unchanged" / "generations.jsonl")
    assert [row["completion"] for row in cut] == [row["completion"] for row in chosen]
    resumed = rhythm("heads", run, "--ablate", "0.1,0.2", *words)
    assert resumed.returncode == 2 and "other settings (weights)" in resumed.stderr


def test_an_arm_is_held_against_the_unchanged_policy(tmp_path: Path) -> None:
    """By hand: of two tasks one more is right, and answers are 1 and 3 tokens longer."""
    told = {
        "unchanged": [wordless(0, False, 4, {}, cut=True), wordless(1, True, 4, {}, cut=True)],
        "chosen": [wordless(0, True, 5, {}, cut=False), wordless(1, True, 7, {}, cut=False)],
    }
    for name, answers in told.items():
        (tmp_path / name).mkdir()
        lines = "".join(f"{answer.model_dump_json()}\n" for answer in answers)
        (tmp_path / name / "generations.jsonl").write_text(lines, encoding="utf-8")
    arm = arm_of("chosen", parse_heads("0.1"), results_of(told["chosen"], 0), tmp_path, 0)
    assert arm.heads == ["0.1"] and arm.accuracy and arm.tokens
    assert (arm.accuracy.mean, arm.tokens.mean) == (0.5, 2.0)
    first = arm_of("unchanged", frozenset(), results_of(told["unchanged"], 0), tmp_path, 0)
    assert first.accuracy is None and first.tokens is None and first.results.tokens


def test_controls_are_other_heads_of_the_same_layers() -> None:
    there = [(layer, head) for layer in range(3) for head in range(4)]
    chosen = parse_heads("0.1, 0.2,0.3,2.0")
    drawn = draw_controls(chosen, there, 5, seed=0)
    assert drawn == draw_controls(chosen, there, 5, seed=0) and len(set(drawn)) > 1
    for one in drawn:
        assert len(one) == 4 and not one & chosen and (0, 0) in one  # layer 0 has but one other
        assert sum(head[0] == 2 for head in one) >= 1
    assert draw_controls(frozenset(there), there, 0, 0) == []
    with pytest.raises(HeadError, match="12 heads leave 0 others"):
        draw_controls(frozenset(there), there, 1, 0)
    assert name_of(chosen, 0.0, False) == "ablate-0.1,0.2,0.3,2.0"
    assert name_of(chosen, 1.3, True)[:18] == "scale-1.3-circuit-"
