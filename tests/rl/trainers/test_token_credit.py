"""What credit does in training does not depend on how the rollouts are split over ranks, micro-batches and padding."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import models

from rl.credit import anchor, coupled
from rl.trainers.token_credit import CreditSettings, Place, Reading, TokenCredit

NONE = torch.zeros(64, dtype=torch.bool)
SETTINGS = CreditSettings(rule=coupled, horizon=(3, 20), layers=[0, 2], calibration=4)


def credit(settings: CreditSettings = SETTINGS, place: Place | None = None) -> TokenCredit:
    return TokenCredit(settings, models.build("qwen3"), NONE, 7, place or Place())


def batch(size: int = 10) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sequences of 40 tokens, the last 25 the response, of which some end early."""
    ids = torch.randint(3, 64, (size, 40), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    for row in range(size):
        mask[row, : row % 4] = 0
        mask[row, 40 - row % 7 :] = 0
    response = mask.bool()
    response[:, :15] = False
    return ids, mask, response


def distances_of(ranks: int, micro_batch: int, calibration: int) -> tuple[list[dict], list]:
    """Select heads on each of the ranks' parts of ten rollouts: their sums are added as a reduction would."""
    ids, mask, response = batch()
    size = len(ids) // ranks
    parts = [slice(rank * size, (rank + 1) * size) for rank in range(ranks)]
    chosen = replace(SETTINGS, calibration=calibration)
    seen: list[list[torch.Tensor]] = []
    for rank, part in enumerate(parts):  # what each rank would send
        sent: list[torch.Tensor] = []
        one = credit(chosen, Place(rank, ranks, lambda tensor, sent=sent: sent.append(tensor) or tensor))
        one.select_heads(1, models.build("qwen3"), ids[part], mask[part], response[part], micro_batch)
        seen.append(sent)
    totals = [sum(tensors) for tensors in zip(*seen, strict=True)]
    found, heads = [], []
    for rank, part in enumerate(parts):
        answers = iter(totals)
        one = credit(chosen, Place(rank, ranks, lambda _, answers=answers: next(answers)))
        found.append(
            dict(one.select_heads(1, models.build("qwen3"), ids[part], mask[part], response[part], micro_batch))
        )
        heads.append(one.heads)
    return found, heads


@pytest.mark.parametrize("calibration", [1, 3, 4, 10, 99])
@pytest.mark.parametrize(("ranks", "micro_batch"), [(1, 10), (1, 3), (2, 2), (5, 1)])
def test_heads_do_not_depend_on_ranks_or_micro_batches(ranks: int, micro_batch: int, calibration: int) -> None:
    (expected,), (heads,) = distances_of(1, 10, calibration)
    for found, chosen in zip(*distances_of(ranks, micro_batch, calibration), strict=True):
        assert chosen == heads
        for layer, row in expected.items():
            assert found[layer] == pytest.approx(row, rel=1e-5)


def test_calibration_rows_are_spread_and_equally_many() -> None:
    """Four of thirty rows, at 0, 7, 15, 22, ten to a rank: 0 7 | 5 | 2, the shorter ones filled up."""
    found = [credit(replace(SETTINGS, calibration=4), Place(rank, 3))._calibration(10) for rank in range(3)]
    assert [rows for rows, _ in found] == [[0, 7], [5, 0], [2, 0]]
    assert [counted.tolist() for _, counted in found] == [[True, True], [True, False], [True, False]]
    for size in (1, 3, 16, 17, 31, 47):
        rows, counted = credit(replace(SETTINGS, calibration=16))._calibration(size)
        assert len(set(rows)) == min(16, size) and counted.all()


def test_heads_are_due_again_where_no_response_was_left() -> None:
    """Every completion masked as cut off: nothing was measured, so nothing is reported, and old heads stay."""
    ids, mask, response = batch()
    one = credit()
    assert one.select_heads(1, models.build("qwen3"), ids, mask, torch.zeros_like(response), 4) == {}
    assert one.heads is not None and one.is_due(2)
    assert one.select_heads(2, models.build("qwen3"), ids, mask, response, 4) and not one.is_due(3)
    chosen = one.heads
    assert one.select_heads(30, models.build("qwen3"), ids, mask, torch.zeros_like(response), 4) == {}
    assert one.heads == chosen and one.is_due(31)


def test_heads_are_due_at_first_and_then_every_so_often() -> None:
    one = credit(replace(SETTINGS, reselect_every=3))
    due = []
    for step in range(1, 8):
        due.append(one.is_due(step))
        if due[-1]:
            one.select_heads(step, models.build("qwen3"), *batch(), 4)
    assert due == [True, False, False, True, False, False, True]
    again = credit(replace(SETTINGS, reselect_every=3))
    again.restore(one.state())
    assert again.heads == one.heads and not again.is_due(9) and again.is_due(10)
    assert not credit(replace(SETTINGS, reads=frozenset({"noise"}))).is_due(1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 5), st.integers(1, 90), st.integers(0, 40))
def test_noise_knows_its_row_and_token_alone(step: int, ranks: int, rows: int, length: int, padding: int) -> None:
    whole = credit().noise(step, ranks * rows, length + padding)
    parts = [credit(place=Place(rank, ranks)).noise(step, rows, length) for rank in range(ranks)]
    assert torch.equal(torch.cat(parts), whole[:, :length])
    assert ((whole >= 0) & (whole < 1)).all()


def test_noise_differs_by_row_step_and_seed() -> None:
    one = credit().noise(1, 2, 30)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, credit().noise(2, 2, 30))
    assert not torch.equal(one, TokenCredit(SETTINGS, models.build("qwen3"), NONE, 8, Place()).noise(1, 2, 30))


def test_what_is_left_out_is_never_selected() -> None:
    """Delimiters by their token, sinks by what was read of the hidden states."""
    ids, mask, response = batch()
    delimiters = NONE.clone()
    delimiters[3:20] = True
    settings = replace(SETTINGS, rule=anchor, exclude_delimiters=True, exclude_sinks=True)
    one = TokenCredit(settings, models.build("qwen3"), delimiters, 0, Place())
    one.select_heads(1, models.build("qwen3"), ids, mask, response, 4)
    reading = one.read_separately(models.build("qwen3"), ids, mask, response, 4)
    assert reading.sinks is not None and reading.sinks.sum() >= len(ids)  # each sequence's first token at least
    reading.sinks = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    given = one.weigh(ids[:, 15:], response[:, 15:], torch.ones(10), reading.of_last(25), None)
    left_out = delimiters[ids[:, 15:]] | reading.sinks[:, 15:]
    assert given.selected.any() and not (given.selected & left_out).any()
    assert given.weights[left_out & response[:, 15:]].unique().tolist() == [1.0]


def test_a_token_beyond_the_vocabulary_is_no_delimiter() -> None:
    one = TokenCredit(SETTINGS, models.build("qwen3"), torch.tensor([False, True]), 0, Place())
    assert one.is_delimiter(torch.tensor([[0, 1, 2, 500]])).tolist() == [[False, True, False, False]]


def test_a_reading_of_completions() -> None:
    reading = Reading(sinks=torch.tensor([[True, False, True, False]]))
    last = reading.of_last(2)
    assert last.rhythm is None and last.sinks is not None and last.sinks.tolist() == [[True, False]]
