"""Where an echo ends: traces made by hand, round trips, and a reward that copying cannot farm."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import REWARDS, Sample
from rewards.echo import Echo
from rewards.echoes import OPENER_WORDS, Rule, find, without
from rewards.sentences import overlaps, restated, split, words
from rl.parts import build_rubric
from rl.recipe import load
from rl.recipe.faults import RecipeError

QUESTION = "Tom has 3 apples. He buys 4 more. How many apples does he have?"
WHOLE = f"Okay, let me see. The problem is asking: {QUESTION}"
WORK = "First, 3 + 4 = 7. So the answer is 7."


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        (f"{WHOLE} {WORK}", WHOLE),
        (f"<think>{WHOLE}\n{WORK}</think><answer>7</answer>", WHOLE),
        (f"<think>\n{QUESTION}</think><answer>7</answer>", QUESTION),  # nothing but an echo
        (QUESTION, QUESTION),
        (QUESTION.upper(), QUESTION.upper()),
        (f"Tom has 3 apples and buys 4 more. {WORK}", "Tom has 3 apples and buys 4 more."),  # in other words
        (f"Tom has 3 apples. {WORK}", "Tom has 3 apples."),  # the first of three
        (f"Hm. Tom has 3 apples. {WORK}", "Hm. Tom has 3 apples."),
        (f"Tom has 3 apples. He buys 4 more. Wait. {QUESTION}", "Tom has 3 apples. He buys 4 more."),
        (f"Hm. Well. {WHOLE}", None),  # one opener, not two
        (f"The answer is 7. {QUESTION}", None),  # what has a number does more than open
        (f"{WORK} {QUESTION}", None),  # in the middle
        (WORK, None),
        (f"```\n{QUESTION}\n```\n{WORK}", None),  # quoted in code
        (f"Tom has 3 apples.\n```\n{QUESTION}\n```\n{WORK}", "Tom has 3 apples."),
        ("Tom a 3 pommes, et il en achète 4 de plus. 3 + 4 = 7.", None),  # another language has other words
        ("3.", None),
        ("Okay, let me see.", None),
        ("", None),
        ("<think>", None),
        (f"<think></think>{QUESTION}", None),  # not in the reasoning
    ],
)
def test_traces_by_hand(text: str, echo: str | None) -> None:
    found = find(QUESTION, text)
    assert (None if found is None else text[found.start : found.end]) == echo
    kept = without(QUESTION, text)
    assert find(QUESTION, kept) is None
    assert echo is None or len(kept) < len(text)
    assert text.endswith(kept.removeprefix("<think>").lstrip()) and (echo is not None or kept == text)


def test_a_question_of_other_letters() -> None:
    question = "小明有三个苹果。他又买了四个。他有几个苹果?"
    found = find(question, f"题目问:{question}三加四等于七。")
    assert found is not None
    assert find(question, "三加四等于七。") is None
    assert words("小明 3.5 Äpfel") == ["小", "明", "3.5", "äpfel"]


def test_sentences_by_hand() -> None:
    text = 'Dr. A. Smith paid $3.50 (e.g. in cash). "Why?" he asked!\nI did. So...  ok\n\n```py\nx. y.\n```\nEnd'
    found = [text[one.start : one.end] for one in split(text)]
    assert found == [
        "Dr. A. Smith paid $3.50 (e.g. in cash).",
        '"Why?"',
        "he asked!",
        "I did.",
        "So...",
        "ok",
        "```py\nx. y.\n```",
        "End",
    ]
    assert [one.is_code for one in split(text)].index(True) == 6


def test_overlap_by_hand() -> None:
    """Of "he buys 3 pears" the question says he, buys, 3: three of four words, over the least of five."""
    found = overlaps(
        QUESTION, ["he buys 3 pears", "He buys 4 more", "We know: he buys 4 more.", "3", "", "apples " * 6]
    )
    assert found == [3 / 5, 1.0, 1.0, 1 / 5, 0.0, 2 / 6]
    assert restated(QUESTION, "Tom, Tom, Tom has apples") == 3 / 14
    assert restated("", "x") == 0.0


def test_likeness_may_fall_by_the_drop_and_no_further() -> None:
    def similarity(_: str, sentences) -> list[float]:
        return [float(sentence.rstrip(".")) for sentence in sentences]

    def end(text: str, rule: Rule) -> int:
        found = find("q", text, rule, similarity)
        return 0 if found is None else len(found.similarities)

    assert end("0.6. 0.45. 0.44. 0.9.", Rule()) == 2
    assert end("0.6. 0.9. 0.76. 0.74.", Rule()) == 3  # below the peak, not below the first
    assert end("0.59. 0.9.", Rule()) == 0
    assert end("0.59. 0.9.", Rule(threshold=0.5, drop=0.0)) == 2
    assert end(" ".join(["0.7."] * 50), Rule()) == 50


def test_what_is_no_rule_is_refused() -> None:
    for rule in ((0.0, 0.1), (1.1, 0.1), (0.6, -0.1)):
        with pytest.raises(ValueError, match="threshold"):
            Rule(*rule)
    with pytest.raises(ValueError, match="openers"):
        Rule(openers=-1)


TEXTS = st.lists(
    st.sampled_from(["Tom has 3 apples.", "He buys 4 more", "Why?", "So 3 + 4 = 7.", "Hm.", "\n", "apples"]),
    max_size=9,
).map(" ".join) | st.text(max_size=200)
TAGGED = TEXTS.map("<think>{}</think><answer>7</answer>".format)


@settings(deadline=None, derandomize=True)
@given(TEXTS | TAGGED)
def test_what_is_deleted_is_an_opening(text: str) -> None:
    kept = without(QUESTION, text)
    assert find(QUESTION, kept) is None and without(QUESTION, kept) == kept
    found = find(QUESTION, text)
    if found is None:
        assert kept == text
    else:
        assert 0 <= found.start < found.end <= len(text)
        assert text.endswith(kept[found.start :])  # what follows is untouched
        assert kept[: found.start] == text[: found.start]


def sample(completion: str) -> Sample:
    return Sample(QUESTION, "7", completion)


def test_the_reward_by_hand() -> None:
    reward = Echo()
    assert reward(sample(f"{QUESTION} {WORK}")) == 1.0
    assert reward(sample(WORK)) == 0.0
    assert reward(sample(f"Tom has 3 apples. {WORK}")) == pytest.approx(4 / 14 / 0.8)
    assert Echo(ceiling=4 / 14)(sample(f"Tom has 3 apples. {WORK}")) == 1.0


def test_copying_again_or_more_pays_nothing() -> None:
    reward = Echo()
    assert reward(sample(f"{QUESTION} {QUESTION} {WORK}")) <= 1.0
    assert reward(sample(f"{QUESTION} " * 5 + WORK)) == 0.0
    # Of four words and again four words the question has five: apples twice.
    assert Echo(longest=100)(sample("Tom has 3 apples. " * 7 + WORK)) == pytest.approx(5 / 14 / 0.8)


def test_it_is_a_bonus_for_right_answers() -> None:
    assert REWARDS["echo"] is Echo and Echo.role == "bonus"
    for options in ({"ceiling": 0.0}, {"ceiling": 1.5}, {"longest": 0.5}, {"threshold": 0.0}):
        with pytest.raises(ValueError, match=r"should be|must be"):
            Echo(**options)


def test_a_recipe_pays_for_echoes_of_right_answers_alone() -> None:
    with pytest.raises(RecipeError, match=r"rewards.parts.echo: would pay for wrong answers too"):
        load("quickstart", ["rewards.parts.echo.weight=0.1"])
    recipe = load("quickstart", ["rewards.parts.echo.weight=0.1", "rewards.combine=bonus_if_correct"])
    rubric = build_rubric(recipe.rewards)
    right, wrong = (
        rubric.score(Sample(QUESTION, "7", f"<think>{QUESTION} {WORK}</think><answer>{answer}</answer>")).total
        for answer in (7, 8)
    )
    assert right == pytest.approx(1.1) and wrong == 0.0


def test_the_limits_belong_to_an_echo_themselves() -> None:
    """A fall of exactly the drop goes on, an opener of exactly so many words opens; a word more does not."""
    rule = Rule(threshold=0.5, drop=0.25)

    def likeness(fall: float) -> Callable[[str, Sequence[str]], list[float]]:
        return lambda question, sentences: [1.0 if "one" in text else 1.0 - fall for text in sentences]

    text = "This is one. This is two."
    for fall, end in ((0.25, len(text)), (0.375, len("This is one."))):
        found = find("q", text, rule, likeness(fall))
        assert found is not None and found.end == end
    question = "Tom has some apples and buys more. How many has he now?"
    for count, is_echo in ((OPENER_WORDS, True), (OPENER_WORDS + 1, False)):
        opener = " ".join(["Well"] * count) + "."
        assert (find(question, f"{opener} {question}") is not None) is is_echo
