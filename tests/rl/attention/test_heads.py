"""Golden choices of layers and heads."""

import pytest

from rl.attention import Heads, probed_layers, select


@pytest.mark.parametrize(
    ("num_layers", "layers"),
    [(36, (12, 15, 18, 21, 24)), (28, (9, 11, 14, 16, 18)), (8, (2, 3, 4, 5)), (3, (1, 2)), (1, (0,))],
)
def test_probed_layers(num_layers: int, layers: tuple[int, ...]) -> None:
    assert probed_layers(num_layers) == layers


def test_select_takes_the_nearest_and_the_farthest() -> None:
    distances = {4: [5.0, 1.0, 9.0], 7: [2.0, 8.0, 3.0]}
    assert select(distances, 0.3, 0.3) == Heads(local=((4, 1), (7, 0)), global_=((4, 2), (7, 1)))
    assert select(distances, 0.01, 0.01) == Heads(local=((4, 1),), global_=((4, 2),))


def test_select_breaks_ties_by_layer_then_head() -> None:
    assert select({1: [2.0, 2.0], 0: [2.0, 2.0]}, 0.5, 0.25) == Heads(local=((0, 0), (0, 1)), global_=((1, 1),))
