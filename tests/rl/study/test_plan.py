"""A study's runs: arms differ in what it says and in nothing else, and start from the policy that they share."""

from pathlib import Path

import pytest

from rl.comparison.arms import flat
from rl.recipe import RecipeError, dump, load
from rl.study.plan import Changes, Plan, StudyError, narrowed, plan, read_study, study_names, widened

STUDY = """\
name: pair
recipe: quickstart
shared: {stages: [sft], seed: 7}
seeds: [3, 4]
against: [plain]
arms:
  plain: {credit: {kind: uniform}}
  anchor: {credit: {kind: anchor, gain: 2.0}}
"""


def write(folder: Path, text: str = STUDY) -> Path:
    path = folder / "pair.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def planned(folder: Path, text: str = STUDY, *overrides: str) -> Plan:
    study, path = read_study(str(write(folder, text)))
    return plan(study, path, folder / "out", Changes(overrides))


def differences(left: Plan, one: int, other: int) -> set[str]:
    first, second = (flat(dump(left.runs[place].recipe)) for place in (one, other))
    return {key for key in {*first, *second} if first.get(key) != second.get(key)}


def test_arms_differ_in_what_is_said_and_seeds_in_the_seed(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert [run.path.name for run in found.runs] == ["plain-seed3", "anchor-seed3", "plain-seed4", "anchor-seed4"]
    keys = differences(found, 0, 1)
    assert {"name", "credit.kind", "credit.gain"} <= keys
    assert all(key == "name" or key.startswith("credit.") for key in keys)
    assert differences(found, 0, 2) == {"seed"}
    assert found.runs[1].recipe.credit.gain == 2.0


def test_arms_start_from_what_they_share(tmp_path: Path) -> None:
    found = planned(tmp_path)
    (shared,) = found.shared
    assert [stage.name for stage in shared.recipe.stages] == ["sft"] and shared.recipe.seed == 7
    policy = shared.path / "checkpoints" / "sft" / "final"
    assert {run.recipe.model.name for run in found.runs} == {str(policy)}
    assert [[stage.name for stage in run.recipe.stages] for run in found.runs] == [["grpo"]] * 4
    assert found.runs[0].recipe.stages[0] == load("quickstart").stages[1]


def test_every_seed_has_a_start_of_its_own_where_none_is_named(tmp_path: Path) -> None:
    found = planned(tmp_path, STUDY.replace(", seed: 7", ""))
    assert [run.recipe.seed for run in found.shared] == [3, 4]
    assert [run.start for run in found.runs] == [found.shared[0].path] * 2 + [found.shared[1].path] * 2
    assert differences(found, 0, 2) == {"seed", "model.name"}


def test_overrides_reach_the_runs_that_they_concern(tmp_path: Path) -> None:
    words = ("stages.sft.trainer.steps=5", "stages.grpo.trainer.steps=6", "data.size=99", "model.name=small")
    found = planned(tmp_path, STUDY, *words)
    assert found.shared[0].recipe.stages[0].trainer.steps == 5 and found.shared[0].recipe.model.name == "small"
    assert {run.recipe.stages[0].trainer.steps for run in found.runs} == {6}
    assert {run.recipe.data.size for run in [*found.shared, *found.runs]} == {99}  # pyright: ignore
    assert "small" not in {run.recipe.model.name for run in found.runs}


def test_a_file_is_laid_over_all_runs_but_for_where_arms_start(tmp_path: Path) -> None:
    overlay = tmp_path / "smaller.yaml"
    overlay.write_text("model: {name: small}\nstages: {grpo: {trainer: {steps: 9}}}\n", encoding="utf-8")
    study, path = read_study(str(write(tmp_path)))
    found = plan(study, path, tmp_path / "out", Changes(overlays=[str(overlay)]))
    assert found.shared[0].recipe.model.name == "small"
    assert {run.recipe.stages[0].trainer.steps for run in found.runs} == {9}
    assert {run.recipe.model.name for run in found.runs} == {str(found.shared[0].path / "checkpoints/sft/final")}


def test_a_study_without_shared_stages_trains_all_of_them(tmp_path: Path) -> None:
    found = planned(tmp_path, STUDY.replace("shared: {stages: [sft], seed: 7}\n", ""))
    assert found.shared == [] and [stage.name for stage in found.runs[0].recipe.stages] == ["sft", "grpo"]
    assert found.runs[0].start is None


def test_stages_of_an_arm_keep_what_it_does_not_say(tmp_path: Path) -> None:
    arm = "  slow: {stages: {grpo: {trainer: {learning_rate: 1e-6}}}}\n"
    found = planned(tmp_path, STUDY + arm)
    slow, plain = found.runs[2].recipe.stages[0].trainer, found.runs[0].recipe.stages[0].trainer
    assert slow.learning_rate == 1e-6 and slow.steps == plain.steps


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("against: [plain]", "against: [control]"), "'control' is no arm; arms: plain, anchor"),
        (("seeds: [3, 4]", "seeds: [3, 3]"), "seeds: names a seed twice"),
        (("seeds: [3, 4]", "seeds: []"), "seeds"),
        (("recipe: quickstart", "recipe: quickstrat"), "did you mean quickstart?"),
        (("stages: [sft]", "stages: [grpo]"), "should be the first of quickstart's stages (sft, grpo)"),
        (("stages: [sft]", "stages: [sft, grpo]"), "and not all"),
        (("gain: 2.0", "gian: 2.0"), "arms.anchor: credit.gian: unknown key; did you mean gain?"),
        (("{credit: {kind: uniform}}", "{base: quickstart}"), "says base or seed"),
        (("{credit: {kind: uniform}}", "{stages: {sft: {trainer: {steps: 3}}}}"), "sft is shared"),
        (("{credit: {kind: uniform}}", "{model: {name: small}}"), "arms.plain: model: arms start from the policy"),
        (
            ("{credit: {kind: uniform}}", "{stages: [grpo]}"),
            "arms.plain: stages: should say what changes in which stage",
        ),
        (("{credit: {kind: uniform}}", "{stages: {grpo: 3}}"), "arms.plain: stages: should say what changes"),
        (("{credit: {kind: uniform}}", "{stages: [{trainer: {steps: 3}}]}"), "arms.plain: stages: should say"),
        (("{credit: {kind: anchor, gain: 2.0}}", "{credit: {kind: uniform}}"), "plain and anchor are the same"),
        (("against: [plain]", "against: [plain]\nstage: sft"), "the arm plain does not train sft; it trains grpo"),
        (("against: [plain]", "against: [plain]\noutcomes: {credit/anchor/share: 1}"), "is not recorded by plain"),
        (("name: pair", "name: ../pair"), "name: '../pair' should be letters, digits and _ . - alone"),
        (("seeds: [3, 4]", "seeds: []"), "seeds: should hold at least 1, and holds 0"),
        (("name: pair", "nmae: pair"), "nmae: unknown key; did you mean name?"),
        (("against: [plain]", "against: [plain]\nstage: ppo"), "has no stage ppo; stages: sft, grpo"),
        (
            ("against: [plain]", "against: [plain]\noutcomes: {reward/anwser/mean: 1}"),
            "did you mean reward/answer/mean?",
        ),
        (
            ("against: [plain]", "against: [plain]\noutcomes: {effort/length@0.4/mean: 1}"),
            "no arm records effort/length@",
        ),
        (("against: [plain]", "against: [plain]\noutcomes: {reward/total/mean: 0}"), "greater than 0"),
        (("arms:", "arms: [1]\nx:"), "arms: should be"),
        (
            ("{credit: {kind: uniform}}", "{data: {path: 2024-01-01}}"),
            "arms.plain.data.path: is a date; write it in quotes to say it as text",
        ),
        (("{credit: {kind: uniform}}", "&one {credit: *one}"), "holds itself; write out"),
    ],
)
def test_faults_say_what_would_do(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises((RecipeError, StudyError)) as raised:
        planned(tmp_path, STUDY.replace(*change))
    assert words in str(raised.value) and "pair.yaml" in str(raised.value)


def test_an_arm_that_is_there_twice_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        planned(tmp_path, STUDY.replace("  anchor:", "  plain: {}\n  anchor:"))
    assert str(raised.value).endswith('pair.yaml:8: not valid YAML: found duplicate key "plain"')


def test_what_would_differ_without_a_word_is_refused(tmp_path: Path) -> None:
    """An arm of another kind loses the recipe's own gain, and falls back to that kind's default, whoever says one."""
    base = tmp_path / "base.yaml"
    base.write_text("base: quickstart\ncredit: {kind: coupled, gain: 2.0}\n", encoding="utf-8")
    text = (
        STUDY.replace("recipe: quickstart", "recipe: base.yaml") + "  coupled: {}\n  random: {credit: {kind: random}}\n"
    )
    words = r"coupled and random would differ in credit.gain \(2.0, 1.5\) without a word"
    with pytest.raises(StudyError, match=words):
        planned(tmp_path, text)
    found = planned(tmp_path, text.replace("kind: random", "kind: random, gain: 1.75"))
    assert found.runs[3].recipe.credit.gain == 1.75


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("credit.kind=uniform", "--set credit.kind=uniform: credit.kind: the arm anchor of"),
        ("credit={kind: uniform}", "credit.kind: the arm anchor of"),
        ("seed=7", "seeds are said by --seeds"),
        ("name=other", "says it for all runs"),
    ],
)
def test_what_arms_say_is_not_undone(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(StudyError) as raised:
        planned(tmp_path, STUDY, override)
    assert words in str(raised.value)


def test_a_file_does_not_undo_what_arms_say(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("credit: {gain: 3.0}\n", encoding="utf-8")
    study, path = read_study(str(write(tmp_path)))
    with pytest.raises(StudyError, match=r"--with .*mine.yaml: credit.gain: the arm anchor"):
        plan(study, path, tmp_path / "out", Changes(overlays=[str(tmp_path / "mine.yaml")]))


def test_no_more_steps_are_told_of_than_there_are(tmp_path: Path) -> None:
    assert planned(tmp_path, STUDY, "stages.grpo.trainer.steps=4").study.last == 4
    assert planned(tmp_path).study.last == 10


def test_the_page_is_about_the_whole_study(tmp_path: Path) -> None:
    study, _ = read_study(str(write(tmp_path)))
    part = narrowed(study, ["plain", "anchor"], [4, 9])
    assert widened(study, part.seeds).seeds == [3, 4, 9] and list(widened(study, part.seeds).arms) == list(study.arms)


def test_narrowed_to_some_arms_and_seeds(tmp_path: Path) -> None:
    study, _ = read_study("credit")
    less = narrowed(study, ["uniform", "coupled", "random"], [0, 1])
    assert (list(less.arms), less.seeds, less.against) == (["uniform", "random", "coupled"], [0, 1], ["random"])
    for arms, words in ((["coupled", "uniform"], "among them a control"), (["none"], "has no arm none")):
        with pytest.raises(StudyError, match=words):
            narrowed(study, arms, None)


@pytest.mark.parametrize("name", study_names())
def test_shipped_studies_are_plans(name: str, tmp_path: Path) -> None:
    study, path = read_study(name)
    found = plan(study, path, tmp_path)
    assert study.name == name and len(study.seeds) >= 5
    assert len(found.runs) == len(study.arms) * len(study.seeds)
    steps = {run.recipe.stages[-1].trainer.steps for run in found.runs}
    assert len(steps) == 1, "arms have equal steps"


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="did you mean credit"):
        read_study("credits")
    with pytest.raises(StudyError, match="no study file"):
        read_study("credit.yml")
    with pytest.raises(StudyError, match="no study file"):
        read_study(str(tmp_path / "none.yaml"))
