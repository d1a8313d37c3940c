"""Coupled credit: numbers derived by hand, and what must hold for every input."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.attention import Rhythm
from rl.credit import coupled, preplan_signal, top

# Ten response tokens between two tokens of prompt and one of padding.
WAAD = [9.0, 9.0, 4.0, 1.0, 1.0, 5.0, 2.0, 2.0, 6.0, 3.0, 3.0, 1.0, 9.0]
FAI = [0.9, 0.9, 0.10, 0.20, 0.50, 0.10, 0.60, 0.05, 0.30, 0.40, 0.00, 0.00, 0.9]
RESPONSE = [False] * 2 + [True] * 10 + [False]


def golden() -> tuple[Rhythm, torch.Tensor]:
    return Rhythm(torch.tensor([WAAD]), torch.tensor([FAI])), torch.tensor([RESPONSE])


def test_delta_by_hand() -> None:
    rhythm, response = golden()
    # |4-1|, |1-1|, |1-5|, |5-2|, |2-2|, |2-6|, |6-3|, |3-3|, |3-1|, and the last token has no next one.
    expected = [0, 0, 3, 0, 4, 3, 0, 4, 3, 0, 2, 0, 0]
    assert preplan_signal(rhythm.waad, response).tolist() == [expected]


def test_coupled_by_hand() -> None:
    """Anchors: the 4 highest FAI of 10 are at 6, 4, 9, 8 (0.60, 0.50, 0.40, 0.30).

    Medians (the lower of two middles): WAAD of 1 1 1 2 2 3 3 4 5 6 is 2; Delta of 0 0 0 0 2 3 3 3 4 4 is 2.
    6: WAAD 2 <= 2, before it 3, 4, 5 with Delta 0, 4, 3: dominated by 4. 4: WAAD 1 <= 2, before it 2, 3 (response) with
    Delta 3, 0: dominated by 2. 9: WAAD 3 > 2. 8: WAAD 6 > 2. With g = 1.5, alpha = 0.5: 8, 9: 1.5; 6: 1.25; 4: 1.25 as
    dominated and 0.25 more as introductory to 6, 1.5; 2: introductory to 4, 1.25.
    """
    rhythm, response = golden()
    credit = coupled(rhythm, response)
    assert credit.weights.tolist() == [[0, 0, 1.25, 1, 1.5, 1, 1.25, 1, 1.5, 1.5, 1, 1, 0]]
    assert credit.anchors.nonzero()[:, 1].tolist() == [4, 6, 8, 9]
    assert credit.dominated.nonzero()[:, 1].tolist() == [4, 6]
    assert credit.preplan.nonzero()[:, 1].tolist() == [2, 4, 5, 7]  # Delta 4, 4, then the earlier two of three 3s


def test_alpha_moves_the_gain_of_dominated_anchors() -> None:
    rhythm, response = golden()
    all_kept = coupled(rhythm, response, alpha=0.0, gain=2.0).weights
    all_moved = coupled(rhythm, response, alpha=1.0, gain=2.0).weights
    assert all_kept.tolist() == [[0, 0, 1, 1, 2, 1, 2, 1, 2, 2, 1, 1, 0]]
    assert all_moved.tolist() == [[0, 0, 2, 1, 2, 1, 1, 1, 2, 2, 1, 1, 0]]


def test_the_nearest_introduces_in_a_tie() -> None:
    rhythm = Rhythm(torch.tensor([[0.0, 4.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    response = torch.ones(1, 4, dtype=torch.bool)
    # Delta 4, 4, 0, 0; the anchor 3 looks back at 2, 1, 0: the tie of 1 and 0 goes to 1.
    assert coupled(rhythm, response, top_share=0.25).weights.tolist() == [[1, 1.25, 1, 1.25]]


def test_top_counts() -> None:
    signal = torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0]])
    response = torch.ones(1, 5, dtype=torch.bool)
    assert top(signal, response, 0.4).tolist() == [[True, False, True, False, False]]
    assert top(signal, response, 0.01).sum() == 1
    assert top(signal, response, 1.0).tolist() == [[True, True, True, True, False]]  # an empty horizon is no anchor
    assert not top(signal, torch.zeros(1, 5, dtype=torch.bool), 0.4).any()


@st.composite
def rhythms(draw: st.DrawFn) -> tuple[Rhythm, torch.Tensor]:
    batch, length = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    response = torch.zeros(batch, length, dtype=torch.bool)
    for b in range(batch):
        start = draw(st.integers(0, length))
        response[b, start : draw(st.integers(start, length))] = True
    waad = torch.rand(batch, length, generator=generator).mul(8).round() * response  # rounded: ties
    return Rhythm(waad, torch.rand(batch, length, generator=generator).mul(9).round() / 9 * response), response


@settings(max_examples=80, deadline=None, derandomize=True)
@given(rhythms(), st.floats(1, 3), st.floats(0, 1), st.integers(1, 5))
def test_what_holds_for_every_response(case: tuple, gain: float, alpha: float, lookback: int) -> None:
    rhythm, response = case
    options = {"gain": gain, "alpha": alpha, "lookback": lookback}
    credit = coupled(rhythm, response, **options)
    assert (credit.weights[~response] == 0).all()
    assert (credit.weights[response] >= 1 - 1e-6).all() and (credit.weights <= 1 + (gain - 1) * 2 + 1e-6).all()
    assert not (credit.dominated & ~credit.anchors).any()
    torch.testing.assert_close(coupled(rhythm, response, gain=1.0).weights, response.float())
    # More padding changes nothing, and a batch is its rows.
    pad = torch.nn.functional.pad
    wide = coupled(Rhythm(pad(rhythm.waad, (3, 4)), pad(rhythm.fai, (3, 4))), pad(response, (3, 4)), **options)
    assert torch.equal(wide.weights[:, 3:-4], credit.weights)
    for b in range(len(response)):
        row = slice(b, b + 1)
        assert torch.equal(
            coupled(Rhythm(rhythm.waad[row], rhythm.fai[row]), response[row], **options).weights, credit.weights[row]
        )
    normalised = coupled(rhythm, response, normalize=True, **options).weights
    filled = response.any(-1)
    torch.testing.assert_close(normalised.sum(-1)[filled], response.sum(-1)[filled].float())
