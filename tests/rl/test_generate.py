"""Asking a trained policy: in the words it was trained with, from a run or a folder; and what cannot be asked."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.command import FEW_ROWS, overrides, rhythm
from torch import Tensor

from rewards.echoes import Rule
from rewards.sentences import overlaps
from rl import tiny
from rl.analysis.echo import Detector, measure
from rl.analysis.traces import Trace
from rl.data import Task
from rl.exports import read_use
from rl.generate import Again, Reply, ask, replies
from rl.models import ModelError
from rl.policy import Policy
from rl.telemetry.record import RunError

SMALL = Path(__file__).resolve().parents[1] / "reference" / "tiny.yaml"
EFFORT = (
    FEW_ROWS,
    "effort={kind: relative, wording: ' Effort {effort}.'}",
    "data.system=Be brief.",
    "rewards.combine=gate",
    "rewards.parts.effort={}",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generate") / "run"
    done = rhythm("train", "quickstart", "--with", SMALL, "--run-dir", path, *overrides(*EFFORT))
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def told(
    policy: Policy, *questions: str, max_tokens: int, temperature: float = 0.0, again: Again | None = None
) -> list[Reply]:
    asked = [ask(policy, Task("here", question, ""), max_tokens, again) for question in questions]
    return replies(policy, asked, temperature=temperature, again=again)


def tell(policy: Policy, question: str, max_tokens: int, temperature: float = 0.0, again: Again | None = None) -> Reply:
    [reply] = told(policy, question, max_tokens=max_tokens, temperature=temperature, again=again)
    return reply


def test_a_policy_knows_how_it_wants_to_be_asked(run: Path) -> None:
    final = run / "checkpoints" / "grpo" / "final"
    assert read_use(final) == {
        "system": "Be brief.",
        "effort": {"kind": "relative", "wording": " Effort {effort}."},
    }
    policy = Policy.load(str(run), effort=0.5)
    assert policy.system == "Be brief." and policy.dial is not None and policy.dial.words(0.5) == " Effort 0.5."
    again = Policy.load(str(final), system="Other.")
    assert again.system == "Other." and again.dial is None


def test_replies_are_counted_and_depend_on_what_is_asked(run: Path) -> None:
    policy = Policy.load(str(run), effort=0.5)
    reply = tell(policy, "1 + 1 =", max_tokens=12)
    assert reply == tell(policy, "1 + 1 =", max_tokens=12)
    assert reply.num_tokens <= 12 and reply.num_reasoning_tokens <= reply.num_tokens and reply.completion
    sampled = {tell(policy, "1 + 1 =", max_tokens=12, temperature=5.0).completion for _ in range(3)}
    assert len(sampled) == 3


def test_the_command_prints_text_or_json(run: Path) -> None:
    done = rhythm("generate", run, "1 + 1 =", "2 + 2 =", "--effort", "0.5", "--max-tokens", "6", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["question"] for row in rows] == ["1 + 1 =", "2 + 2 ="]
    counts = {"num_tokens", "num_reasoning_tokens", "num_reminder_tokens"}
    assert set(rows[0]) == {"question", "completion", "cut", *counts}
    plain = rhythm("generate", run, "1 + 1 =", "--max-tokens", "6")
    assert "tokens" in plain.stdout.splitlines()[-1] and plain.stderr == ""


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("tiny", "q"), "tiny: is untrained"),
        (("/nowhere", "q"), "/nowhere is no folder"),
        (("nowhere", "q"), "nowhere: there is no such folder"),
        (("{run}", " "), "a QUESTION is empty"),
        (("{run}", "1 + " * 400), "does not fit into the model's 512; shorten it"),
        (("{run}", "q", "--seed", "99999999999999"), "--seed"),
        (("{run}", "q", "--effort", "inf"), "should be above 0"),
        (("{run}", "q", "--effort", "0.5", "--tokens", "9"), "two ways to ask for a length"),
        (("{run}", "q", "--effort", "-1"), "should be above 0"),
        (("{run}", "q", "--tokens", "9"), "was trained to be asked with --effort"),
        (("{run}", "q", "--first", "3"), "--first says where --again comes in"),
        (("{run}", "q", "--again", "neutral", "--first", "9", "--max-tokens", "9"), "leaves nothing of --max-tokens 9"),
        (("{run}", "q", "--again", "question", "--max-tokens", "9"), "QUESTION: of a budget of 9 tokens, a reminder"),
        (("{run}",), "ask at least one QUESTION"),
    ],
)
def test_what_cannot_be_asked(run: Path, words: tuple[str, ...], fault: str) -> None:
    done = rhythm("generate", *(word.replace("{run}", str(run)) for word in words))
    assert done.returncode == 2 and fault in done.stderr and "Traceback" not in done.stderr, done.stderr


QUESTIONS = ("1 + 1 =", "State the final answer: 12 - 7 + 3 =", "2 =")


@pytest.mark.parametrize("again", [None, Again("question", 9), Again("neutral", 9)])
def test_a_batch_is_its_questions_one_by_one(run: Path, again: Again | None) -> None:
    policy = Policy.load(str(run))
    together = told(policy, *QUESTIONS, max_tokens=80, again=again)
    assert together == [tell(policy, question, max_tokens=80, again=again) for question in QUESTIONS]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("budget", [60, 90])
def test_a_reminder_comes_half_way_and_out_of_the_same_budget(run: Path, question: str, budget: int) -> None:
    policy = Policy.load(str(run))
    plain = tell(policy, question, budget)
    said = {what: tell(policy, question, budget, again=Again(what, 10)) for what in ("question", "neutral")}
    assert said["question"].num_reminder_tokens == said["neutral"].num_reminder_tokens >= 5
    for what, reply in said.items():
        first, _, _ = reply.completion.partition("\n")
        assert plain.completion.startswith(first) and "</think>" not in first
        assert reply.num_tokens <= budget and (reply.num_tokens == budget or not reply.cut)
        assert (f"\nLet me read the question again: {question}\n" in reply.completion) is (what == "question")


class Scripted:
    """A model that says what it is told, and keeps what it was asked."""

    def __init__(self, policy: Policy, *texts: str) -> None:
        self.config, self.device, self.pad = policy.model.config, policy.model.device, policy.tokenizer.pad_token_id
        self.generation_config = policy.model.generation_config
        self.rows = [[*policy.ids(text), policy.ends[0], self.pad] for text in texts]
        self.asked: list[tuple[list[int], int]] = []

    def generate(self, input_ids: Tensor, generation_config: Any, **_: Any) -> Tensor:
        self.asked.append((input_ids[0].tolist(), generation_config.max_new_tokens))
        return torch.cat([input_ids, torch.tensor([self.rows.pop(0)])], 1)


def test_a_reasoning_that_has_ended_goes_on_behind_the_reminder(run: Path) -> None:
    """The closing tag and what comes with it make way for the reminder, which comes out of the budget."""
    policy = Policy.load(str(run))
    first, second = "<think>1 + 1 = 2.</think><answer>2</answer>", " So 2.</think><answer>2</answer>"
    model = policy.model = Scripted(policy, first, second)
    reply = tell(policy, "1 + 1 =", 100, again=Again("question"))
    begun = "<think>1 + 1 = 2.\nLet me read the question again: 1 + 1 =\n"
    assert reply.completion == begun + second and not reply.cut
    (start, half), (told, left) = model.asked
    assert half == 50 and policy.text(told) == policy.text(start) + begun
    assert len(told) + left == len(start) + 100
    with pytest.raises(
        ModelError, match=r"here: of a budget of 12 tokens, a reminder of .* leaves nothing for a first half"
    ):
        tell(policy, "1 + 1 =", 12, again=Again("question"))


def test_what_a_template_opens_is_part_of_the_completion(run: Path) -> None:
    plain = Policy.load(str(run))
    tokenizer = tiny.build_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template) + "{{ '<think>' }}"
    opened = Policy("here", plain.model, tokenizer, plain.system, None, 0.0)
    assert opened.opening == "<think>" and plain.opening == ""
    assert opened.prompt(Task("here", "1 + 1 =", "")) == plain.prompt(Task("here", "1 + 1 =", "")) + "<think>"
    reply = tell(opened, "1 + 1 =", 12)
    assert reply.completion.startswith("<think>") and reply.num_tokens <= 12
    traces = [Trace("here", "1 + 1 =", text, None) for text in ("<think>It is 2.</think>2", "It is 2.</think>2")]
    first, second = measure(opened, traces, Detector(Rule(), overlaps), batch=2, heard=lambda _: None).measured
    assert first == second and first.num_tokens == len(opened.ids("It is 2.</think>2"))


def test_a_policy_is_asked_as_in_training_whatever_its_own_config_says(run: Path) -> None:
    """A model may come with a top_k and a repetition penalty of its own, which no rollout knew."""
    policy = Policy.load(str(run))
    plain = tell(policy, "1 + 1 =", 20)
    torch.manual_seed(0)
    sampled = tell(policy, "1 + 1 =", 40, temperature=3.0)
    own = policy.model.generation_config
    own.top_k, own.top_p, own.repetition_penalty, own.no_repeat_ngram_size = 1, 0.1, 9.0, 1
    torch.manual_seed(0)
    assert tell(policy, "1 + 1 =", 20) == plain and tell(policy, "1 + 1 =", 40, temperature=3.0) == sampled


def test_texts_that_would_not_fit_side_by_side_are_written_apart(run: Path) -> None:
    """One question fills the context but for a few tokens: beside it another may still be answered at length."""
    policy = Policy.load(str(run))
    long, short = policy.ids(policy.prompt(Task("here", "1 + " * 222, ""))), policy.ids("1 + 1 =")
    room = policy.context - len(long)
    assert 0 < room < 60
    both = policy.write([long, short], [room, 90], 0.0)
    assert both == [policy.write([long], [room], 0.0)[0], policy.write([short], [90], 0.0)[0]]
    assert len(both[1].ids) > room


def test_weights_that_are_no_numbers_are_said(run: Path) -> None:
    policy = Policy.load(str(run))
    with torch.no_grad():
        next(policy.model.parameters()).fill_(torch.nan)
    with pytest.raises(ModelError, match="gives no finite probabilities; its weights are damaged"):
        tell(policy, "1 + 1 =", 5, temperature=1.0)


def test_a_run_without_a_policy(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="no stage of this run has ended yet"):
        Policy.load(str(tmp_path))
