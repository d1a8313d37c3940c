"""Attention statistics at the cost of a few diagonals: WAAD and FAI per token, and the scores of every head."""

from rl.attention.bands import num_heard
from rl.attention.heads import Head, Heads, probed_layers, select
from rl.attention.intervene import HeadError, check_heads, heads_in, scaled
from rl.attention.measure import check_probeable, find_sinks, head_scores, measure, read, run
from rl.attention.probe import probe
from rl.attention.readers import HeadScores, RhythmReader, ScoreReader
from rl.attention.rhythm import Rhythm
from rl.attention.sinks import SinkReader, watch
from rl.attention.spans import SpanReader
from rl.attention.structure import ProbeError, decoder_layers, num_layers

__all__ = [
    "Head",
    "HeadError",
    "HeadScores",
    "Heads",
    "ProbeError",
    "Rhythm",
    "RhythmReader",
    "ScoreReader",
    "SinkReader",
    "SpanReader",
    "check_heads",
    "check_probeable",
    "decoder_layers",
    "find_sinks",
    "head_scores",
    "heads_in",
    "measure",
    "num_heard",
    "num_layers",
    "probe",
    "probed_layers",
    "read",
    "run",
    "scaled",
    "select",
    "watch",
]
