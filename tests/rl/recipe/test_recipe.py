"""Recipes: the defaults, inheritance, overrides, and every fault said at once."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from rl.recipe import Recipe, RecipeError, dump, load, resolve, shipped, shipped_names
from rl.recipe.reference import reference
from rl.recipe.trl_fields import OWNED, config_fields


def faults(name: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(name, overrides)
    return [f"{fault.key}: {fault.reason}" for fault in caught.value.faults]


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_quickstart_is_the_default_recipe() -> None:
    assert load("quickstart") == Recipe()


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_loads_and_survives_a_dump(name: str) -> None:
    recipe = load(name)
    assert resolve(dump(recipe), "again") == recipe
    assert name == "quickstart" or recipe.name == name


def test_quickstart_spells_out_every_key() -> None:
    """The shipped default is also the example that people copy from."""
    text = (shipped("recipes") / "quickstart.yaml").read_text(encoding="utf-8")
    tree = dump(Recipe())
    keys = {*tree, *tree["model"], *tree["data"], *tree["credit"], *tree["telemetry"], *tree["checkpoints"]}
    for stage in tree["stages"]:
        keys |= set(stage["trainer"])
    assert {key for key in keys if f"{key}:" not in text} == set()


def test_checking_imports_no_torch() -> None:
    code = "import sys; from rl.recipe import load; load('quickstart'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "rl.recipe" in loaded and not {"torch", "transformers", "trl"} & loaded


def test_a_file_changes_only_what_it_says(tmp_path: Path) -> None:
    recipe = load(write(tmp_path, "name: mine\nmodel: {name: org/model, lora: {rank: 4}}\ncredit: {gain: 2.0}\n"))
    assert (recipe.model.name, recipe.model.lora.rank, recipe.credit.gain) == ("org/model", 4, 2.0)
    assert recipe.stages == Recipe().stages
    assert recipe.credit.kind == "coupled"


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    """YAML 1.1 would read 1e-5 as text."""
    recipe = load(write(tmp_path, "stages: [{name: grpo, trainer: {kind: grpo, steps: 1, learning_rate: 1e-5}}]"))
    assert recipe.stages[0].trainer.learning_rate == 1e-5


def test_base_merges_mappings_stages_by_name_and_replaces_other_kinds(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
name: parent
credit: {kind: coupled, gain: 3.0}
data: {kind: jsonl, path: a.jsonl, completion: trace}
stages:
  - {name: warm, trainer: {kind: sft, steps: 7}}
  - {name: sharpen, trainer: {kind: grpo, steps: 8, trl: {top_p: 0.9}}}
""",
        "parent.yaml",
    )
    child = (
        "base: parent.yaml\nname: child\nseed: 4\ncredit: {kind: uniform}\n"
        "stages: [{name: sharpen, trainer: {epsilon: 0.1}}]"
    )
    recipe = load(write(tmp_path, child))
    assert recipe.credit.kind == "uniform"
    assert [stage.name for stage in recipe.stages] == ["sharpen"]
    trainer = recipe.stages[0].trainer
    assert (trainer.steps, trainer.epsilon, trainer.trl) == (8, 0.1, {"top_p": 0.9})
    assert recipe.data.path == "a.jsonl"


def test_null_takes_a_parents_key_away(tmp_path: Path) -> None:
    write(tmp_path, "credit: {kind: coupled, gain: 3.0}\nmodel: {lora: {rank: 2}}", "parent.yaml")
    recipe = load(
        write(tmp_path, "base: parent\ncredit: {gain: null}\nmodel: {lora: null}".replace("parent", "parent.yaml"))
    )
    assert recipe.credit.gain == 1.5
    assert recipe.model.lora is None


def test_another_kind_starts_anew_though_the_parents_was_not_said(tmp_path: Path) -> None:
    write(tmp_path, "credit: {gain: 3.0, window: null}", "parent.yaml")
    assert load(write(tmp_path, "base: parent.yaml")).credit.gain == 3.0
    assert load(write(tmp_path, "base: parent.yaml\ncredit: {kind: uniform}")).credit.kind == "uniform"


def test_base_may_be_a_shipped_recipe(tmp_path: Path) -> None:
    assert load(write(tmp_path, "base: quickstart\nseed: 9")).seed == 9


def test_set_reaches_everything() -> None:
    recipe = load("quickstart", ["stages.grpo.trainer.steps=3", "data.options={min_terms: 2}", "model.lora.rank=4"])
    assert recipe.stages[1].trainer.steps == 3
    assert recipe.data.options == {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1}
    assert recipe.model.lora.rank == 4


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("credit.gian=2", "credit.gian: unknown key; did you mean gain?"),
        ("sed=2", "sed: unknown key; did you mean seed?"),
        ("credit.kind=copled", "credit: unknown kind 'copled'; did you mean coupled?"),
        ("data.kind=jsonl", "data.path: is missing"),
        ("stages.grpo.trainer.stepz=3", "stages.grpo.trainer.stepz: unknown key; did you mean steps?"),
        ("stages.sft.trainer.steps=abc", "stages.sft.trainer.steps: should be a valid integer, not 'abc'"),
        ("stages.sft.trainer.steps=true", "stages.sft.trainer.steps: should be a valid integer, not True"),
        ("stages.extra.trainer.steps=5", "stages.extra.trainer: needs a `kind`, one of sft, grpo"),
        ("seed=-1", "seed: should be greater than or equal to 0, not -1"),
        ("model=tiny", "model: should be keys and values, not 'tiny'"),
        ("credit.horizon=[30, 20]", "credit: horizon: [30, 20] is empty; write [nearest, farthest]"),
        ("rewards.parts.anwser.weight=1", "rewards.parts.anwser: unknown reward; did you mean answer?"),
        (
            "rewards.parts.format.options.tag=x",
            "rewards.parts.format.options: got an unexpected keyword argument 'tag'",
        ),
        ("rewards.parts={answer: {weight: 0}, format: {weight: 0}}", "rewards.parts: every weight is 0"),
        ("stages.grpo.trainer.micro_batch=7", "stages.grpo.trainer.micro_batch: 7 does not divide prompts_per_step x"),
        (
            "stages.grpo.trainer.trl.top_kk=2",
            "stages.grpo.trainer.trl.top_kk: TRL's grpo config has no such field; did you mean",
        ),
        ("stages.grpo.trainer.trl.save_steps=2", "trl.save_steps: is said by the recipe's own key `checkpoints.every`"),
        (
            "stages.sft.data.task=leg_counting",
            "stages.sft.data.task: an sft stage needs worked completions, which rhythm writes for chain_sum",
        ),
    ],
)
def test_faults_name_key_and_remedy(override: str, fault: str) -> None:
    assert any(fault in found for found in faults("quickstart", override)), faults("quickstart", override)


def test_all_faults_come_at_once_and_name_their_file(tmp_path: Path) -> None:
    parent = write(
        tmp_path,
        "credit: {kind: coupled, gian: 2}\nstages:\n- {name: a, trainer: {kind: sft, steps: 1, stepz: 1}}",
        "parent.yaml",
    )
    child = write(tmp_path, "base: parent.yaml\nmodel: {nme: x}\ncheckpoints: {keep: 0}")
    with pytest.raises(RecipeError) as caught:
        load(child, ["seed=x"])
    lines = [(fault.source, fault.key) for fault in caught.value.faults]
    assert sorted(lines) == sorted(
        [
            (parent, "credit.gian"),
            (parent, "stages.a.trainer.stepz"),
            (child, "model.nme"),
            (child, "checkpoints.keep"),
            ("--set seed=x", "seed"),
        ]
    )


def test_a_misspelt_key_hides_no_other_fault() -> None:
    said = faults("quickstart", "sed=1", "rewards.parts.anwser.weight=1", "stages.grpo.trainer.trl.top_kk=1")
    assert [fault.split(":")[0] for fault in said] == ["rewards.parts.anwser", "sed", "stages.grpo.trainer.trl.top_kk"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1,", "not valid YAML"),
        ("seed: 1\nseed: 2", "not valid YAML"),
        ("- 1", "should hold keys and values"),
        ("base: nowhere.yaml", "no such recipe file"),
        ("base: mine.yaml", "each other's base"),
        ("base: 3", "should be one recipe's name or path"),
        ("stages: []", "stages"),
        (
            "stages: [{name: a, trainer: {kind: sft, steps: 1}}, {name: a, trainer: {kind: sft, steps: 1}}]",
            "stage names must differ",
        ),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError, match=fault) as caught:
        load(path)
    assert str(tmp_path) in str(caught.value)


def test_the_reference_in_docs_is_that_of_the_sections() -> None:
    docs = Path(__file__).resolve().parents[3] / "docs" / "recipe.md"
    assert docs.read_text(encoding="utf-8") == reference(), "run: rhythm keys > docs/recipe.md"
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60 and not [line for line in rows if line.endswith("|  |")]


def test_misspelt_recipes_are_guessed() -> None:
    with pytest.raises(RecipeError, match="did you mean quickstart"):
        load("quikstart")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load("nowhere/mine.yaml")


def test_trl_fields_read_from_source_are_those_of_the_classes() -> None:
    import trl

    real = {}
    for kind, config in {"sft": trl.SFTConfig, "grpo": trl.GRPOConfig}.items():
        real[kind] = {field.name for field in dataclasses.fields(config)}
        assert real[kind] <= config_fields(kind)
    assert set(OWNED) <= real["sft"] | real["grpo"]


def test_packs_want_an_order_of_their_own_and_attention_that_knows_rows() -> None:
    packed = ("stages.sft.trainer.packing=true", "stages.sft.trainer.order=shuffled")
    assert any("packing: puts rows together" in found for found in faults("quickstart", packed[0]))
    reason = "stages.sft.trainer.micro_batch: sdpa would attend over 32 packs of 160 tokens as over one"
    assert any(reason in found for found in faults("quickstart", *packed))
    assert load("quickstart", [*packed, "model.attention=flash_attention_2"]).stages[0].trainer.micro_batch == 32
    assert load("quickstart", [*packed, "stages.sft.trainer.micro_batch=1"]).stages[0].trainer.micro_batch == 1
