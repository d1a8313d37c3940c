"""Several arms of one evaluation: the same tasks and decoding or none, paired differences, sweeps, reminders."""

import json
from pathlib import Path
from typing import Any

import pytest
from reference.command import rhythm
from reference.scripted import scripted, tiny_policy

from rl.evaluation.arms import Arm, Wanted, names_of, plan_arms
from rl.evaluation.decoding import Decoding
from rl.evaluation.evaluate import EvaluationError
from rl.evaluation.evaluation import Evaluation, Round
from rl.evaluation.run import run_evaluation
from rl.evaluation.suite import build_suite
from rl.intervals import Interval
from rl.models import ModelError
from rl.recipe.suites import load_suite
from rl.telemetry.jsonl import read_rows

SUITE = ("data.limit=6",)
ANSWERS = [task.answer for task in build_suite(load_suite("quickstart", SUITE)).tasks]


def say(*right: bool, words: int = 1) -> list[str]:
    """Return an answer to each task, right or wrong, behind some words of reasoning."""
    told = [answer if flag else "none" for answer, flag in zip(ANSWERS, right, strict=True)]
    return [f"<think>{'So. ' * words}</think><answer>{answer}</answer>" for answer in told]


def study(folder: Path, *arms: Arm, changes: tuple[str, ...] = (), **decoding: Any) -> Round:
    recipe = load_suite("quickstart", [*SUITE, *changes])
    how = Decoding(**{"samples": 1, "max_tokens": 60, "temperature": 0.0, "batch": 4, "seed": 0, **decoding})
    return Round(arms, recipe, build_suite(recipe), how, folder)


def run(folder: Path, *arms: Arm, **options: Any) -> Evaluation:
    return study(folder, *arms, **options).run(lambda *_: None, lambda _: None)


def arm(name: str, texts: list[str], asked: float = 0.0, line: str | None = None) -> Arm:
    return Arm(name, line or name, scripted(texts, name), asked, None)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("policies")
    for seed in (0, 1):
        policy = tiny_policy(seed=seed)
        policy.model.save_pretrained(folder / f"p{seed}")
        policy.tokenizer.save_pretrained(folder / f"p{seed}")
    return [folder / "p0", folder / "p1"]


def test_arms_are_compared_with_the_first_on_the_same_tasks(tmp_path: Path) -> None:
    """Right 2 of 6 against 4 of 6, two of which both have: one third more, where 2 of 6 tasks differ."""
    first = arm("one", say(True, True, False, False, False, False))
    second = arm("two", say(True, True, True, True, False, False))
    found = run(tmp_path / "out", first, second)
    assert [one.results.accuracy and one.results.accuracy.mean for one in found.arms] == [
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    ]
    less = found.arms[1].differences["accuracy"]
    assert less and less.mean == pytest.approx(1 / 3) and less.low == 0.0 and less.high == pytest.approx(2 / 3)
    assert found.arms[1].differences["tokens"] is not None and found.arms[0].differences == {}
    told = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert told["arms"]["two"]["differences"]["accuracy"]["mean"] == pytest.approx(1 / 3)
    shared = json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))
    own = json.loads((tmp_path / "out" / "two" / "settings.json").read_text(encoding="utf-8"))
    assert shared.items() <= own.items() and own["model"] == "two" and len(shared["tasks"]) == 64
    assert len(read_rows(tmp_path / "out" / "one" / "generations.jsonl")) == 6


def test_a_single_arm_lies_in_the_folder_itself(tmp_path: Path) -> None:
    run(tmp_path / "out", arm("one", say(*[True] * 6)))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".lock",
        "generations.jsonl",
        "results.json",
        "settings.json",
    }
    told = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert told["results"]["accuracy"]["mean"] == 1.0 and told["model"] == "one"


def test_an_arm_that_was_begun_with_other_settings_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    texts = say(*[True] * 6)
    run(folder, arm("one", texts), arm("two", texts))
    for changes, faults in (
        ({"seed": 1}, r"out: was begun with other settings \(seed\)"),
        ({"max_tokens": 50}, r"\(max_tokens\)"),
        ({"changes": ("data.limit=5",)}, r"\(suite, tasks\)"),
        ({"changes": ("seed=9",)}, r"\(suite, tasks\)"),
        ({"engine": "vllm"}, r"\(engine\)"),
    ):
        with pytest.raises(EvaluationError, match=faults):
            run(folder, arm("one", texts), arm("two", texts), **changes)
    run(folder, arm("one", []), arm("two", []), arm("three", texts))  # a third arm of the same settings may come
    settings = folder / "two" / "settings.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 3'), encoding="utf-8")
    before = read_rows(folder / "one" / "generations.jsonl")
    with pytest.raises(EvaluationError, match=r"out/two: was begun with other settings \(seed, suite\)"):
        run(folder, arm("four", texts), arm("one", []), arm("two", []))
    assert not (folder / "four").exists() and read_rows(folder / "one" / "generations.jsonl") == before


def test_what_was_broken_off_in_the_second_arm_goes_on_to_the_same_results(
    tmp_path: Path, policies: list[Path]
) -> None:
    recipe = load_suite("quickstart", SUITE)
    how = Decoding(2, 12, 1.0, 4, 0)
    wanted = Wanted([str(path) for path in policies])
    whole = run_evaluation(wanted, recipe, how, tmp_path / "whole", lambda *_: None, lambda _: None)
    batches: list[int] = []

    def heard(count: int) -> None:
        batches.append(count)
        if len(batches) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation(wanted, recipe, how, tmp_path / "broken", lambda *_: None, heard)
    assert not (tmp_path / "broken" / "results.json").exists()
    again = run_evaluation(wanted, recipe, how, tmp_path / "broken", lambda *_: None, lambda _: None)
    assert [one.results for one in again.arms] == [one.results for one in whole.arms]
    for name in ("results.json", "results.md", "results.html", "p1/results.json"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_sweep_is_tested_for_whether_it_rises(tmp_path: Path) -> None:
    """Words grow with the effort for every task; right answers do not."""
    arms = [
        arm(f"p-effort-{asked}", say(True, flag, False, True, False, True, words=words), asked, "p")
        for asked, words, flag in ((1.0, 9, False), (0.5, 3, True), (1.5, 12, False))
    ]
    found = run(tmp_path / "out", *arms)
    tokens, accuracy = found.trends["p"]
    assert (tokens.statistic, tokens.values, tokens.tasks) == (6 * 14.0, 3, 6)
    assert tokens.p_value is not None and tokens.p_value < 0.001
    assert accuracy.p_value is not None and accuracy.p_value > 0.5
    assert run(tmp_path / "other", arm("q", say(*[True] * 6))).trends == {}


def test_which_arms_there_are(policies: list[Path]) -> None:
    one, two = map(str, policies)
    arms = plan_arms(Wanted([one, two], efforts=[0.5, 1.0], agains=["none", "question"]), "Be brief.")
    assert [arm.name for arm in arms][:4] == [
        "p0-none-effort-0.5",
        "p0-none-effort-1",
        "p0-question-effort-0.5",
        "p0-question-effort-1",
    ]
    assert [arm.line for arm in arms][2:6] == ["p0-question", "p0-question", "p1-none", "p1-none"]
    assert len(arms) == 8 and all(arm.policy.system == "Be brief." for arm in arms)
    assert all(arm.policy.model.device.type == "meta" for arm in arms)  # nothing is loaded before it is wanted
    assert [arm.policy.asked for arm in arms[:2]] == [0.5, 1.0]
    [single] = plan_arms(Wanted([one], tokens=[40], agains=["neutral"], first=9), None)
    assert single.name == "p0" and single.again and (single.again.what, single.again.first) == ("neutral", 9)
    for same in (one, f"{one}/", f"{Path(one).parent}/./{Path(one).name}"):
        with pytest.raises(EvaluationError, match="is named twice"):
            plan_arms(Wanted([one, two, same]), None)
    with pytest.raises(ModelError, match="there is no such folder"):
        plan_arms(Wanted([one, "nowhere"]), None)


def test_models_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    final = tmp_path / "run" / "checkpoints" / "grpo" / "final"
    final.mkdir(parents=True)
    assert names_of([str(final), "Qwen/Qwen3-0.6B", "a/b", "c/b"]) == ["run-grpo", "Qwen3-0.6B", "b", "b-2"]
    assert names_of([str(tmp_path / "run"), "we ird/$blue<b>"]) == ["run", "blue-b"]
    assert names_of(["a/b", "c/b", "b-2"]) == ["b", "b-2", "b-2-2"]


def test_reminders_are_arms_of_the_same_budget(tmp_path: Path, policies: list[Path]) -> None:
    agains = ["none", "question", "neutral", "nothing"]
    wanted = Wanted([str(policies[0])], agains=agains)
    how = Decoding(1, 60, 0.0, 4, 0)
    run_evaluation(wanted, load_suite("quickstart", SUITE), how, tmp_path, lambda *_: None, lambda _: None)
    reminded = {}
    for again in agains:
        rows = read_rows(tmp_path / f"p0-{again}" / "generations.jsonl")
        assert [row["num_tokens"] for row in rows] == [60] * 6  # an untrained policy never ends
        reminded[again] = [row["num_reminder_tokens"] for row in rows]
    assert reminded["question"] == reminded["neutral"] and min(reminded["question"]) > 0
    assert reminded["none"] == reminded["nothing"] == [0] * 6


def test_the_command_with_several_policies(tmp_path: Path, policies: list[Path]) -> None:
    words = ["eval", *policies, "--suite", "quickstart", "--limit", "4", "--max-tokens", "8", "--batch", "4"]
    done = rhythm(*words, "--effort", "0.5,1.0,1.5", "--samples", "2", "--temperature", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "evaluations" / "quickstart-p0+p1"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        f"p{n}-effort-{value}" for n in (0, 1) for value in ("0.5", "1", "1.5")
    }
    told = (folder / "results.md").read_text(encoding="utf-8")
    heads = "| arm | right (avg@2, pass@1) | pass@2 | tokens | reasoning | cut off | reward answer | reward format |"
    assert heads in told and "## Differences" in told and "| p1: tokens |" in told
    assert "8 answers to 4 tasks by each arm" in done.stdout and "results.html" in done.stdout
    assert done.stderr.count("was not trained to be asked for a length") == 6
    assert (folder / "results.html").stat().st_size > 1e6


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--effort", "0.5,x"), "--effort: 'x' is no number; write a list such as 0.4,0.7,1.0"),
        (("--effort", "0.5,"), "--effort: '' is no number"),
        (("--effort", "0.5,0.50"), "names one of them twice"),
        (("--effort", "nan"), "should be above 0"),
        (("--tokens", "1.5"), "--tokens: '1.5' is no whole number; write a list such as 64,256"),
        (("--tokens", "9", "--effort", "1"), "two ways to ask for a length"),
        (("--again", "question,maybe"), "--again: 'maybe' is no reminder; one of none, question, neutral, nothing"),
        (("--first", "3", "--again", "none"), "--first says where --again comes in"),
        (("--vllm",), "--vllm: vLLM is not installed here"),
        (("--max-tokens", "9", "--again", "question"), "of a budget of 9 tokens, a reminder"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    tmp_path: Path, policies: list[Path], words: tuple[str, ...], fault: str
) -> None:
    done = rhythm("eval", policies[0], "--suite", "quickstart", "--limit", "2", *words, "--out", tmp_path / "out")
    assert done.returncode == 2 and fault in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_intervals_of_one_task_have_no_ends(tmp_path: Path) -> None:
    found = run(tmp_path / "out", arm("one", say(*[True] * 6)[:1]), changes=("data.limit=1",))
    assert found.arms[0].results.accuracy == Interval(1.0, None, None, 1)
