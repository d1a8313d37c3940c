"""Attention statistics at the cost of a few diagonals: WAAD and FAI per token, and the scores of every head."""

from rl.attention.bands import num_heard
from rl.attention.heads import Head, Heads, probed_layers, select
from rl.attention.intervene import HeadError, check_heads, heads_in, scaled
from rl.attention.measure import check_probeable, find_sinks, head_scores, measure, read, readable_layers, run
from rl.attention.needles import repeated
from rl.attention.probe import probe
from rl.attention.readers import HeadScores, RhythmReader, ScoreReader, kurtosis, scores_of
from rl.attention.received import ReceivedReader
from rl.attention.rhythm import Rhythm
from rl.attention.sinks import SinkReader, watch
from rl.attention.spans import SpanReader
from rl.attention.structure import ProbeError, decoder_layers, num_layers
from rl.attention.suppress import suppress
from rl.attention.uniform import uniform

__all__ = [
    "Head",
    "HeadError",
    "HeadScores",
    "Heads",
    "ProbeError",
    "ReceivedReader",
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
    "kurtosis",
    "measure",
    "num_heard",
    "num_layers",
    "probe",
    "probed_layers",
    "read",
    "readable_layers",
    "repeated",
    "run",
    "scaled",
    "scores_of",
    "select",
    "suppress",
    "uniform",
    "watch",
]
