"""Attention statistics at the cost of a few diagonals: WAAD and FAI per token, mean distance per head."""

from rl.attention.heads import Head, Heads, probed_layers, select
from rl.attention.measure import distance_sums, mean_distances, measure
from rl.attention.probe import DistanceReader, RhythmReader, num_layers, probe
from rl.attention.rhythm import Rhythm

__all__ = [
    "DistanceReader",
    "Head",
    "Heads",
    "Rhythm",
    "RhythmReader",
    "distance_sums",
    "mean_distances",
    "measure",
    "num_layers",
    "probe",
    "probed_layers",
    "select",
]
