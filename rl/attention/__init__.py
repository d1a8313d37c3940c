"""Attention statistics at the cost of a few diagonals: WAAD and FAI per token, mean distance per head."""

from rl.attention.heads import Head, Heads, probed_layers, select
from rl.attention.measure import mean_distances, measure
from rl.attention.probe import DistanceReader, RhythmReader, attention_modules, probe
from rl.attention.rhythm import Rhythm

__all__ = [
    "DistanceReader",
    "Head",
    "Heads",
    "Rhythm",
    "RhythmReader",
    "attention_modules",
    "mean_distances",
    "measure",
    "probe",
    "probed_layers",
    "select",
]
