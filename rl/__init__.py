"""Rhythm: reinforcement-learning fine-tuning with credit read from the model's own attention.

Axes, one letter each, everywhere: B sequences, G completions of one prompt, S keys, T tokens (queries), L layers,
H heads, K key-value heads, D head dimension, N distances. Lengths are in tokens, times in seconds, entropies in nats.
"""

__version__ = "0.1.0"
