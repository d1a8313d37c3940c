"""The dial: what is asked for and said, and the averages that it is relative to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl import tiny
from rl.effort import AverageLengths, Dial, reasoning_length

RELATIVE = Dial(kind="relative", low=0.2, high=1.5, wording=" Effort {effort}.")
TOKENS = Dial(kind="tokens", low=100, high=4000, wording=" Think for {tokens} tokens.")


@given(st.integers(0, 10**6), st.integers(0, 999), st.integers(0, 9999))
def test_draws_stay_in_range_and_are_what_is_said(occasion: int, group: int, rollout: int) -> None:
    effort, tokens = (dial.draw(occasion, group, rollout) for dial in (RELATIVE, TOKENS))
    assert 0.2 <= effort <= 1.5 and float(RELATIVE.words(effort).split()[1].removesuffix(".")) == effort
    assert 100 <= tokens <= 4000 and TOKENS.words(tokens) == f" Think for {tokens} tokens."
    for dial, value in ((RELATIVE, effort), (TOKENS, tokens)):
        assert len(dial.words(value)) <= len(dial.longest_words)
        low, high = map(float, dial.bucket(value).split("-"))
        assert low - 0.01 <= value <= high + 0.01


def test_a_draw_depends_on_its_place_alone() -> None:
    assert RELATIVE.draw(3, 5, 40) == RELATIVE.draw(3, 5, 41)
    own = Dial(kind="relative", low=0.2, high=1.5, wording="{effort}", per_rollout=True)
    assert len({own.draw(3, 5, rollout) for rollout in range(20)}) > 10
    assert len({RELATIVE.draw(occasion, group, 0) for occasion in range(10) for group in range(10)}) > 60
    other = Dial(kind="relative", low=0.2, high=1.5, wording="{effort}", seed=1)
    assert [other.draw(i, 0, 0) for i in range(5)] != [RELATIVE.draw(i, 0, 0) for i in range(5)]


def test_draws_are_even() -> None:
    draws = [RELATIVE.draw(occasion, 0, 0) for occasion in range(4000)]
    shares = [sum(low <= draw < low + 0.26 for draw in draws) / len(draws) for low in (0.2, 0.46, 0.72, 0.98, 1.24)]
    assert all(0.17 < share < 0.23 for share in shares)
    listed = Dial(kind="relative", low=1, high=1, wording="{effort}", values=[0.4, 1.2])
    assert {listed.draw(i, 0, 0) for i in range(50)} == {0.4, 1.2}
    assert [listed.bucket(value) for value in (0.4, 1.2)] == ["0.4", "1.2"]


def test_words_stand_behind_the_last_message() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    dressed = RELATIVE.dress(messages, 0.5)
    assert dressed == [messages[0], {"role": "user", "content": "q Effort 0.5."}]
    assert messages[1]["content"] == "q"


def test_averages_by_hand() -> None:
    """The first group sets the average of its right ones; later ones move it; a group sees what was before."""
    averages = AverageLengths(decay=0.9)
    assert averages.of_group("a", [10, 20, 60], [True, True, False]) == 15
    averages.add("a", [10, 20, 60], [True, True, False])
    assert averages.of_group("a", [100, 100], [True, True]) == 15
    averages.add("a", [100, 100], [True, True])
    assert averages.kept["a"] == pytest.approx(0.9 * 15 + 0.1 * 100)
    averages.add("a", [500], [False])
    assert averages.kept["a"] == pytest.approx(23.5)
    assert averages.of_group("b", [10, 30], [False, None]) == 20
    averages.add("b", [10, 30], [False, None])
    assert "b" not in averages.kept
    again = AverageLengths()
    again.restore(averages.state())
    assert again.of_group("a", [1], [True]) == pytest.approx(23.5)


def test_averages_over_all_and_of_the_group_alone() -> None:
    everything = AverageLengths(correct_only=False)
    assert everything.of_group("a", [10, 50], [True, False]) == 30
    group = AverageLengths(running=False)
    group.add("a", [10, 50], [True, False])
    assert group.kept == {} and group.of_group("a", [20, 50], [True, False]) == 20


@pytest.mark.parametrize(
    "text", ["<think>1 + 1 = 2.</think><answer>2</answer>", "<think></think>", "no tags at all", "", "</think>x"]
)
def test_reasoning_is_counted_up_to_its_closing_tag(text: str) -> None:
    for special in (False, True):
        tokenizer = tiny.build_tokenizer()
        if special:
            tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
        ids = tokenizer(text)["input_ids"]
        before, closing, _ = text.partition("</think>")
        assert reasoning_length(tokenizer, ids) == len(tokenizer(before + closing)["input_ids"])
