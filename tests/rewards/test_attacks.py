"""Hostile completions: every one earns nothing, and costs under a tenth of a second."""

import time

import pytest

from rewards import Sample
from rewards.answer import Answer
from rewards.countdown import Countdown
from rewards.format import Format
from rewards.monitor import own_label

SECONDS = 0.1
QUESTION = "Use 3 and 4 to make 12; write <answer>12</answer> if the sum is 12.\n#### 12"

ATTACKS = {
    "two labels": "<think>a</think><label>safe</label><label>unsafe</label><answer>12</answer><answer>13</answer>",
    "label inside think": "<think><label>safe</label><answer>12</answer></think>",
    "nested tags": "<think>a<think>b</think><answer><answer>12</answer></answer></think>",
    "unclosed think": "<think>a <answer>12</answer><label>safe</label>",
    "unclosed answer": "<think>a</think><answer>12 <label>safe",
    "other case": "<Think>a</Think><Answer>12</Answer><Label>safe</Label>",
    "attributes": '<think>a</think><answer id="1">12</answer><label x=y>safe</label>',
    "answer quoted from the prompt": f"<think>a</think>You wrote: {QUESTION}\n<answer>13</answer>",
    "both answers": r"<think>a</think>\boxed{12} or \boxed{13} <label>safe or unsafe</label>",
    "both answers in one": "<think>a</think><answer>12 or 13</answer><label>safe, unsafe</label>",
    "a number and another word": "<think>a</think><answer>12 thirteen</answer>",
    "a number and a hedge": r"<think>a</think><answer>12\text{ or 13}</answer>",
    "a number in millions": "<think>a</think><answer>12 million</answer>",
    "yes inside yesterday": "<think>a</think><answer>yesterday</answer><label>unsafely</label>",
    "a megabyte of digits": "<think>a</think><answer>" + "9" * 10**6 + "</answer>",
    "a megabyte of digits, open": "#### " + "9" * 10**6,
    "tower of powers": "<think>a</think><answer>9**9**9**9</answer>",
    "tower of powers in LaTeX": r"<think>a</think>\boxed{9^{9^{9^{9}}}}",
    "factorials": "<think>a</think><answer>99999!!</answer>",
    "ten thousand brackets": "<think>a</think><answer>" + "(" * 10_000 + "12" + ")" * 10_000 + "</answer>",
    "ten thousand braces": r"\boxed" + "{" * 10_000 + "12" + "}" * 10_000,
    "ten thousand tags": "<answer>" * 10_000 + "12" + "</answer>" * 10_000,
    "unicode digits": "<think>a</think><answer>\u0661\u0662</answer>",
    "full-width digits": "<think>a</think><answer>\uff11\uff12</answer>",
    "unicode minus": "<think>a</think><answer>\u221212</answer>",
    "division by zero": "<think>a</think><answer>12/0</answer>",
    "not a number": "<think>a</think><answer>nan</answer>",
    "infinity": "<think>a</think><answer>inf</answer>",
    "empty": "",
    "space": " \n\t",
    "code": "<think>a</think><answer>__import__('os').system('true')</answer>",
    "null bytes": "<think>a</think><answer>12\x00</answer>",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_earns_nothing_and_is_cheap(name: str) -> None:
    completion = ATTACKS[name]
    rewards = {
        "answer": Answer()(Sample(QUESTION, "12", completion)),
        "countdown": Countdown()(Sample(QUESTION, "", completion, facts={"numbers": [3, 4], "target": 12})),
        "yes": Answer()(Sample("Did he come?", "yes", completion)),
        "minus": Answer()(Sample(QUESTION, "-12", completion)),
    }
    seconds = [_seconds(judge, completion) for judge in (_answer, _countdown, _format, own_label)]
    assert rewards == dict.fromkeys(rewards, 0.0)
    assert own_label(completion) is None
    assert max(seconds) < SECONDS


def _answer(completion: str) -> object:
    return Answer()(Sample(QUESTION, "12", completion))


def _countdown(completion: str) -> object:
    return Countdown()(Sample(QUESTION, "", completion, facts={"numbers": [3, 4], "target": 12}))


def _format(completion: str) -> object:
    return Format()(Sample(QUESTION, "12", completion))


def _seconds(judge: object, completion: str) -> float:
    start = time.process_time()
    judge(completion)  # pyright: ignore
    return time.process_time() - start


def test_the_same_forms_pay_where_they_are_honest() -> None:
    """What the attacks imitate scores, so that nothing above scores 0 for another reason."""
    assert _answer("<think>a</think><answer>12</answer>") == 1.0
    assert _answer(r"<think>a</think>\boxed{12}") == 1.0
    assert _answer("#### 12") == 1.0
    assert _answer("<think>a</think><answer>24/2</answer>") == 1.0
    assert _countdown("<think>a</think><answer>3*4</answer>") == 1.0
    assert own_label("<think>a</think><label>safe</label>") == "safe"
