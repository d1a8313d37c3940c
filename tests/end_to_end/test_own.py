"""Credit and tasks of one's own, as docs/own.md has them: what stands there is checked, trained with, and refused."""

from pathlib import Path

import pytest
from reference.command import overrides, rhythm
from reference.pages import ROOT, write_files

from rl.telemetry.jsonl import read_rows

SMALL = ROOT / "tests" / "reference" / "tiny.yaml"
ODD = """
import torch
THREE = 3
def two(signals, more, options=0): ...
def none(): ...
async def later(signals): ...
def flat(signals): return torch.ones(3)
def words(signals): return "1.5"
def below(signals): return signals.response.float() - 2
def broken(signals): return 1 / 0
def late(signals):
    if len(signals.response) == 8 and signals.response.shape[1] == 24: raise KeyError("late")
    return signals.response
def empty(seed): return []
def untold(seed): yield {"question": "q", "anwser": "a"}
def unanswered(seed): yield {"question": "q"}
def unworked(seed):
    for _ in range(9): yield {"question": "q", "answer": "a"}
def one(seed): return 5
def text(seed): return "abc"
def lost(seed): return [{}["colour"]]
def set_of(seed): yield {"question": "q", "answer": "a", "facts": {"words": {"a", "b"}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the modules and recipes of the page, and a module of mistakes."""
    folder = tmp_path_factory.mktemp("own")
    assert len(write_files(ROOT / "docs" / "own.md", folder)) == 6
    (folder / "odd.py").write_text(ODD, encoding="utf-8")
    return folder


def test_all_three_train_through_the_command(folder: Path) -> None:
    done = rhythm("train", "doubled.yaml", "--with", SMALL, "--run-dir", "run", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    last = read_rows(folder / "run" / "metrics.jsonl")[-1]
    assert last["stage"] == "grpo" and {"reward/brevity/unjudged", "credit/weight/mean"} <= last.keys()
    samples = [row for row in read_rows(folder / "run" / "samples.jsonl") if row["stage"] == "grpo"]
    for row in samples:
        question, answer = row["prompt"].split("What is ")[1].split("?")[0], row["answer"]
        number = question.split(" + ")[0]
        assert question == f"{number} + {number}" and int(answer) == 2 * int(number)
        weights = row["weight"]
        assert set(weights) <= {1.0, 1.5} and weights.count(1.5) <= 0.2 * 0.4 * len(weights) + 1
    assert any(1.5 in row["weight"] for row in samples)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            "credit.rule='hesitation:hesitate'",
            "credit.rule: hesitation:hesitate: the module hesitation has no hesitate",
        ),
        ("credit.rule='gone:rule'", "credit.rule: gone:rule: cannot be imported: ModuleNotFoundError"),
        ("credit.rule=hesitation", "credit.rule: should be an import path such as my_module:my_rule"),
        (
            "credit.rule='odd:THREE'",
            "credit.rule: odd:THREE: is no function but of type int; it is called with signals",
        ),
        ("credit.rule='odd:later'", "credit.rule: odd:later: is asynchronous; it is called with signals"),
        ("credit.rule='odd:none'", "odd:none: should be called with signals first: too many positional arguments"),
        ("credit.rule='odd:two'", "credit.options: odd:two: missing a required argument: 'more'"),
        ("credit.options.shaer=1", "credit.options: hesitation:hesitation: got an unexpected keyword argument 'shaer'"),
        ("credit.reads=[attentoin]", "credit.reads.0: should be 'attention', 'entropy' or 'noise'"),
        ("credit.reads=[entropy]", "credit: horizon: has no effect, since `reads` has no attention"),
        ("credit.probe=separate", "probe: entropies are of the pass that GRPO makes, so separate has no effect"),
        ("data.tasks='doubles:treble'", "data.tasks: doubles:treble: the module doubles has no treble"),
        ("data.tasks='odd:none'", "data.tasks: odd:none: should be called with a seed first"),
        ("data.options.larger=9", "data.options: doubles:doubles: got an unexpected keyword argument 'larger'"),
        ("stages.grpo.credit={kind: own, rule: 'odd:THREE'}", "stages.grpo.credit.rule: odd:THREE: is no function"),
    ],
)
def test_faults_are_said_when_the_recipe_is_checked(folder: Path, change: str, fault: str) -> None:
    done = rhythm("check", "doubled.yaml", *overrides(change), cwd=folder)
    assert done.returncode == 2 and fault in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (["credit.rule='odd:flat'"], "credit.rule: odd:flat returned weights of shape (3,), not (3, 24)"),
        (["credit.rule='odd:words'"], "odd:words returned a str; it should return a tensor of weights"),
        (["credit.rule='odd:below'"], "odd:below returned the weight -1; weights are finite and 0 or more"),
        (["credit.rule='odd:broken'"], "credit.rule: odd:broken failed: ZeroDivisionError: division by zero"),
        (["credit.reads=[]", "credit.horizon=[10, 100]"], "failed: AssertionError: this rule needs WAAD and FAI"),
        (["data.tasks='odd:empty'"], "data.tasks: odd:empty gave no tasks"),
        (["data.tasks='odd:untold'"], "odd:untold[0]: has anwser; a row has question, answer, completion, system"),
        (["data.tasks='odd:unanswered'"], "odd:unanswered[0]: the task has no answer"),
        (["data.tasks='odd:unworked'"], "odd:unworked[0]: the task has no completion, which an sft stage learns from"),
        (
            ["rewards.parts.countdown={}"],
            "doubles:doubles[0]: facts lack numbers, target, which the reward countdown needs",
        ),
        (["data.tasks='odd:one'"], "data.tasks: odd:one failed: TypeError: 'int' object is not iterable"),
        (["data.tasks='odd:lost'"], "data.tasks: odd:lost failed: KeyError: 'colour'"),
        (
            ["data.tasks='odd:set_of'"],
            "odd:set_of[0]: facts: should be what JSON can hold: Object of type set",
        ),
        (["data.tasks='odd:text'"], "odd:text[0]: should be a mapping with question and answer, or a Task, not a str"),
    ],
)
def test_what_they_give_is_refused_before_anything_is_written(folder: Path, changes: list[str], fault: str) -> None:
    if "odd" in changes[0]:
        changes = [*changes, f"{changes[0].partition('.')[0]}.options=null"]
    done = rhythm("train", "doubled.yaml", "--with", SMALL, "--run-dir", "no", *overrides(*changes), cwd=folder)
    assert done.returncode == 2 and fault in done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and not (folder / "no").exists()


def test_a_rule_that_fails_in_training_is_named(folder: Path) -> None:
    own = overrides("credit={kind: own, rule: 'odd:late'}")
    done = rhythm("train", "doubled.yaml", "--with", SMALL, "--run-dir", "late", *own, cwd=folder)
    assert done.returncode == 1 and "odd:late failed: KeyError: 'late'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
