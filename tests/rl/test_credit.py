"""Every kind of credit: numbers derived by hand, and what must hold for every input."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import credit
from rl.attention import Rhythm
from rl.credit import Credit, Signals, choose, normalized, preplan_signal, signed

# Ten response tokens between two tokens of prompt and one of padding.
WAAD = [9.0, 9.0, 4.0, 1.0, 1.0, 5.0, 2.0, 2.0, 6.0, 3.0, 3.0, 1.0, 9.0]
FAI = [0.9, 0.9, 0.10, 0.20, 0.50, 0.10, 0.60, 0.05, 0.30, 0.40, 0.00, 0.00, 0.9]
ENTROPY = [9.0, 9.0, 0.1, 0.7, 0.2, 0.9, 0.0, 0.3, 0.8, 0.5, 0.6, 0.4, 9.0]
NOISE = [0.0, 0.0, 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5, 0.0, 0.0]
RESPONSE = [False] * 2 + [True] * 10 + [False]
GOLDEN = Signals(
    response=torch.tensor([RESPONSE]),
    rhythm=Rhythm(torch.tensor([WAAD]), torch.tensor([FAI])),
    horizon=(2, 5),
    entropy=torch.tensor([ENTROPY]),
    noise=torch.tensor([NOISE]),
)


def selected(credit: Credit) -> list[int]:
    return credit.selected.nonzero()[:, 1].tolist()


def gains(weights: torch.Tensor, gain: float = 1.5) -> list[int]:
    """The tokens with the gain, where every other token of the response has 1."""
    assert set(weights[0, 2:12].tolist()) <= {1.0, gain} and weights[0, [0, 1, 12]].tolist() == [0, 0, 0]
    return (weights == gain).nonzero()[:, 1].tolist()


def test_delta_by_hand() -> None:
    # |4-1|, |1-1|, |1-5|, |5-2|, |2-2|, |2-6|, |6-3|, |3-3|, |3-1|, and the last token has no next one.
    expected = [0, 0, 3, 0, 4, 3, 0, 4, 3, 0, 2, 0, 0]
    assert preplan_signal(torch.tensor([WAAD]), GOLDEN.response).tolist() == [expected]


def test_preplan_by_hand() -> None:
    """4 of 10 tokens: Delta 4 at 4 and 7, then the earlier two of the four 3s; at the bottom 0, 0, 0 and 2.

    The last token, 11, has Delta 0 as well, but none is defined there.
    """
    assert gains(credit.preplan(GOLDEN).weights) == [2, 4, 5, 7]
    assert gains(credit.preplan(GOLDEN, end="bottom").weights) == [3, 6, 9, 10]


def test_anchor_by_hand() -> None:
    """FAI 0.60, 0.50, 0.40, 0.30 at 6, 4, 9, 8; at the bottom 0.05 at 7, 0.10 at 2 and 5, 0.20 at 3.

    10 and 11 have FAI 0, but a horizon that begins two tokens on holds no response token for them.
    """
    assert gains(credit.anchor(GOLDEN).weights) == [4, 6, 8, 9]
    assert gains(credit.anchor(GOLDEN, gain=3.0).weights, 3.0) == [4, 6, 8, 9]
    assert gains(credit.anchor(GOLDEN, end="bottom").weights) == [2, 3, 5, 7]


def test_coupled_by_hand() -> None:
    """Anchors: the 4 highest FAI of 10 are at 6, 4, 9, 8 (0.60, 0.50, 0.40, 0.30).

    Medians (the lower of two middles): WAAD of 1 1 1 2 2 3 3 4 5 6 is 2; Delta of 0 0 0 0 2 3 3 3 4 4 is 2.
    6: WAAD 2 <= 2, before it 3, 4, 5 with Delta 0, 4, 3: dominated by 4. 4: WAAD 1 <= 2, before it 2, 3 (response) with
    Delta 3, 0: dominated by 2. 9: WAAD 3 > 2. 8: WAAD 6 > 2. With g = 1.5, alpha = 0.5: 8, 9: 1.5; 6: 1.25; 4: 1.25 as
    dominated and 0.25 more as introductory to 6, 1.5; 2: introductory to 4, 1.25.
    """
    given = credit.coupled(GOLDEN)
    assert given.weights.tolist() == [[0, 0, 1.25, 1, 1.5, 1, 1.25, 1, 1.5, 1.5, 1, 1, 0]]
    assert given.anchors is not None and given.anchors.nonzero()[:, 1].tolist() == [4, 6, 8, 9]
    assert given.dominated is not None and given.dominated.nonzero()[:, 1].tolist() == [4, 6]
    assert given.preplan is not None and given.preplan.nonzero()[:, 1].tolist() == [2, 4, 5, 7]
    assert selected(given) == [2, 4, 6, 8, 9]


def test_alpha_moves_the_gain_of_dominated_anchors() -> None:
    all_kept = credit.coupled(GOLDEN, alpha=0.0, gain=2.0).weights
    all_moved = credit.coupled(GOLDEN, alpha=1.0, gain=2.0).weights
    assert all_kept.tolist() == [[0, 0, 1, 1, 2, 1, 2, 1, 2, 2, 1, 1, 0]]
    assert all_moved.tolist() == [[0, 0, 2, 1, 2, 1, 1, 1, 2, 2, 1, 1, 0]]


def test_the_nearest_introduces_in_a_tie() -> None:
    rhythm = Rhythm(torch.tensor([[0.0, 4.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    signals = Signals(torch.ones(1, 4, dtype=torch.bool), rhythm)
    # Delta 4, 4, 0, 0; the anchor 3 looks back at 2, 1, 0: the tie of 1 and 0 goes to 1.
    assert credit.coupled(signals, top_share=0.25).weights.tolist() == [[1, 1.25, 1, 1.25]]


def test_floor_is_the_weight_of_all_others() -> None:
    """Coupled's share of the gain is 1/2, 0, 1, 0, 1/2, 0, 1, 1, 0, 0; from a floor of 1/2 to a gain of 3/2."""
    weights = credit.coupled(GOLDEN, floor=0.5).weights
    assert weights.tolist() == [[0, 0, 1, 0.5, 1.5, 0.5, 1, 0.5, 1.5, 1.5, 0.5, 0.5, 0]]
    assert credit.anchor(GOLDEN, floor=0.0).weights.tolist() == [[0, 0, 0, 0, 1.5, 0, 1.5, 0, 1.5, 1.5, 0, 0, 0]]


def test_random_by_hand() -> None:
    """The four tokens with the least noise: 0.0 at 11, 0.1 at 3, 0.2 at 5, 0.3 at 7."""
    assert gains(credit.random(GOLDEN).weights) == [3, 5, 7, 11]


def test_shuffled_by_hand() -> None:
    """Coupled's weights 1.25 1 1.5 1 1.25 1 1.5 1.5 1 1, read in the order of the noise: 9 1 3 5 7 8 6 4 2 0."""
    given = credit.shuffled(GOLDEN)
    assert given.weights.tolist() == [[0, 0, 1, 1, 1, 1, 1.5, 1, 1.5, 1.25, 1.5, 1.25, 0]]
    assert selected(given) == [6, 8, 9, 10, 11]


def test_entropy_by_hand() -> None:
    """0.9, 0.8, 0.7, 0.6 at 5, 8, 3, 10; at the bottom 0.0, 0.1, 0.2, 0.3 at 6, 2, 4, 7."""
    assert gains(credit.entropy(GOLDEN).weights) == [3, 5, 8, 10]
    assert gains(credit.entropy(GOLDEN, end="bottom").weights) == [2, 4, 6, 7]


def test_uniform_gain_by_hand() -> None:
    given = credit.uniform_gain(GOLDEN)
    torch.testing.assert_close(given.weights, 1.2 * GOLDEN.response)
    assert torch.equal(given.selected, GOLDEN.response)


def test_normalized_by_hand() -> None:
    """Four of ten tokens with 1.5 have the mean 1.2."""
    weights = normalized(credit.anchor(GOLDEN), GOLDEN.response).weights
    torch.testing.assert_close(weights[0, [3, 4]], torch.tensor([1 / 1.2, 1.5 / 1.2]))
    empty = normalized(credit.anchor(GOLDEN, gain=0.0, floor=0.0), GOLDEN.response).weights
    assert empty.tolist() == [[0.0] * 2 + [1.0] * 10 + [0.0]]


def test_the_sign_of_the_advantage() -> None:
    """Version 1 weighs advantages of 0 and above alone; what is not weighted has weight 1, selected nothing."""
    three = Signals(GOLDEN.response.repeat(3, 1), noise=torch.tensor([NOISE]).repeat(3, 1))
    given, plain = credit.random(three), three.response.float()
    advantages = torch.tensor([0.5, 0.0, -0.5])
    positive = signed(given, three.response, advantages, "positive")
    negative = signed(given, three.response, advantages, "negative")
    assert torch.equal(positive.weights, torch.stack([given.weights[0], given.weights[1], plain[2]]))
    assert torch.equal(negative.weights, torch.stack([plain[0], plain[1], given.weights[2]]))
    assert positive.selected.any(-1).tolist() == [True, True, False]
    assert signed(given, three.response, advantages, "both") is given


def test_what_is_not_eligible_is_never_selected() -> None:
    """Without 4 and 6, three of the eight others: FAI 0.40, 0.30, 0.20 at 9, 8, 3.

    Without 4 alone, three of nine are anchors: 6, 9, 8; and before 6 stand 5 and 3 with Delta 3 and 0, so 5 introduces.
    """
    eligible = torch.ones(1, 13, dtype=torch.bool)
    eligible[0, 4] = False
    given = credit.coupled(replace(GOLDEN, eligible=eligible))
    assert given.weights.tolist() == [[0, 0, 1, 1, 1, 1.25, 1.25, 1, 1.5, 1.5, 1, 1, 0]]
    eligible = eligible.clone()
    eligible[0, 6] = False
    assert gains(credit.anchor(replace(GOLDEN, eligible=eligible)).weights) == [3, 8, 9]


def test_version_one_is_reached_by_options() -> None:
    """Gain on non-negative advantages, horizon [10, 50]: with (1, 3), token 9's horizon holds 10 and 11 alone."""
    near = replace(GOLDEN, horizon=(1, 3))
    given = signed(credit.anchor(near, end="bottom"), near.response, torch.tensor([0.0]), "positive")
    assert gains(given.weights) == [2, 5, 7, 10]  # 10 has a horizon now, and FAI 0


def test_choose_counts() -> None:
    signal = torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0]])
    response = torch.ones(1, 5, dtype=torch.bool)
    assert choose(signal, response, 0.4).tolist() == [[True, False, True, False, False]]
    assert choose(signal, response, 0.01).sum() == 1
    assert choose(signal, response, 1.0).tolist() == [[True, True, True, True, False]]  # an empty horizon is no anchor
    assert choose(signal, response, 0.4, "bottom").tolist() == [[False, True, False, False, True]]
    assert not choose(signal, torch.zeros(1, 5, dtype=torch.bool), 0.4).any()


@st.composite
def signals(draw: st.DrawFn) -> Signals:
    """Any batch: ragged responses with holes, as tools leave them, ties, and tokens that may not be selected."""
    batch, length = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    response = torch.zeros(batch, length, dtype=torch.bool)
    for b in range(batch):
        start = draw(st.integers(0, length))
        response[b, start : draw(st.integers(start, length))] = True
    response &= torch.rand(batch, length, generator=generator) > draw(st.sampled_from([0.0, 0.2]))
    waad, fai, entropy = (torch.rand(batch, length, generator=generator).mul(9).round() for _ in range(3))
    return Signals(
        response=response,
        rhythm=Rhythm(waad * response, fai / 9 * response),
        horizon=(draw(st.integers(1, 4)), 9),
        entropy=entropy,
        noise=torch.rand(batch, length, generator=generator),
        eligible=torch.rand(batch, length, generator=generator) < 0.8 if draw(st.booleans()) else None,
    )


def padded(signals: Signals, left: int, right: int) -> Signals:
    def pad(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (left, right))

    assert signals.rhythm is not None and signals.entropy is not None and signals.noise is not None
    return replace(
        signals,
        response=pad(signals.response),
        rhythm=Rhythm(pad(signals.rhythm.waad), pad(signals.rhythm.fai)),
        entropy=pad(signals.entropy),
        noise=pad(signals.noise),
        eligible=None if signals.eligible is None else pad(signals.eligible),
    )


def row_of(signals: Signals, index: int) -> Signals:
    row = slice(index, index + 1)
    assert signals.rhythm is not None and signals.entropy is not None and signals.noise is not None
    return replace(
        signals,
        response=signals.response[row],
        rhythm=Rhythm(signals.rhythm.waad[row], signals.rhythm.fai[row]),
        entropy=signals.entropy[row],
        noise=signals.noise[row],
        eligible=None if signals.eligible is None else signals.eligible[row],
    )


RULES = (credit.preplan, credit.anchor, credit.coupled, credit.random, credit.shuffled, credit.entropy)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=signals(), gain=st.floats(1, 3), floor=st.floats(0, 1))
def test_what_holds_for_every_response(rule: Callable[..., Credit], case: Signals, gain: float, floor: float) -> None:
    given, response = rule(case, gain=gain, floor=floor), case.response
    assert (given.weights[~response] == 0).all() and not given.selected[~response].any()
    assert (given.weights[response] >= floor - 1e-6).all()
    assert (given.weights[response] <= floor + (gain - floor) * 2 + 1e-6).all()
    if case.eligible is not None:
        assert not given.selected[~case.eligible].any()
    torch.testing.assert_close(rule(case, gain=1.0).weights, response.float())
    # More padding changes nothing, and a batch is its rows.
    assert torch.equal(rule(padded(case, 3, 4), gain=gain, floor=floor).weights[:, 3:-4], given.weights)
    for index in range(len(response)):
        alone = rule(row_of(case, index), gain=gain, floor=floor).weights
        assert torch.equal(alone[0], given.weights[index])
    scaled, filled = normalized(given, response).weights, given.weights.sum(-1) > 0
    torch.testing.assert_close(scaled.sum(-1)[filled], response.sum(-1)[filled].float())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(signals())
def test_shuffled_has_coupled_weights_in_another_order(case: Signals) -> None:
    shuffled, coupled = credit.shuffled(case).weights, credit.coupled(case).weights
    assert torch.equal(shuffled.sort(-1).values, coupled.sort(-1).values)
