"""Who writes: transformers and vLLM's engine (a stand-in of its interface) under one Decoding say the same greedily."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from reference import vllm_offline
from reference.scripted import tiny_policy

from rl.evaluation.arms import Wanted
from rl.evaluation.decoding import Decoding, VllmWriter, writer_of
from rl.evaluation.run import run_evaluation
from rl.models import ModelError
from rl.policy import Policy
from rl.recipe.suites import load_suite
from rl.telemetry.jsonl import read_rows

HOW = Decoding(samples=1, max_tokens=60, temperature=0.0, batch=3, seed=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy = tiny_policy()
    policy.model.save_pretrained(tmp_path / "policy")
    policy.tokenizer.save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def test_both_engines_say_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", vllm_offline)
    monkeypatch.setattr(vllm_offline.LLM, "seeds", [])
    rows = {}
    for engine in ("transformers", "vllm"):
        wanted = Wanted([str(folder)], agains=["none", "question"], first=9)
        recipe, how = load_suite("quickstart", ["data.limit=5"]), replace(HOW, engine=engine)
        run_evaluation(wanted, recipe, how, tmp_path / engine, lambda *_: None, lambda _: None)
        rows[engine] = [
            read_rows(tmp_path / engine / f"policy-{again}" / "generations.jsonl") for again in wanted.agains
        ]
    assert rows["vllm"] == rows["transformers"] and len(rows["vllm"][0]) == 5
    seeds = vllm_offline.LLM.seeds
    assert len(seeds) == 15 and len(set(seeds)) == 5  # by batch and place: the same for both arms, and both halves


def test_an_end_is_no_part_of_what_was_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", vllm_offline)
    policy = Policy.load(str(folder), weights=False)
    start = policy.ids("1 + 2 =")
    [whole] = Policy.load(str(folder)).write([start], [20], 0.0)
    policy.ends = [whole.ids[4]]
    first = whole.ids.index(policy.ends[0])
    [told] = VllmWriter(policy, replace(HOW, engine="vllm")).write([start], [20], 0.0)
    assert told.ids == whole.ids[:first] and not told.cut
    [cut] = writer_of(policy, replace(HOW, engine="vllm")).write([start], [first], 0.0)
    assert cut.ids == whole.ids[:first] and cut.cut


def test_adapters_and_a_missing_vllm_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, how = Policy.load(str(folder), weights=False), replace(HOW, engine="vllm")
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModelError, match=r"--vllm: vLLM is not installed here; pip install 'rhythm-rl\[vllm\]'"):
        writer_of(policy, how)
    monkeypatch.setitem(sys.modules, "vllm", vllm_offline)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="merge the adapter into its base first"):
        writer_of(policy, how)


def test_an_outline_is_the_policy_but_for_its_weights(folder: Path) -> None:
    whole, outline = Policy.load(str(folder), effort=0.5), Policy.load(str(folder), effort=0.5, weights=False)
    assert (outline.context, outline.ends, outline.opening) == (whole.context, whole.ends, whole.opening)
    assert outline.with_weights().write([[1, 2]], [9], 0.0) == whole.write([[1, 2]], [9], 0.0)
    assert outline.model.device.type == "meta" and outline.asking(0.7).asked == 0.7 and outline.asked == 0.5
