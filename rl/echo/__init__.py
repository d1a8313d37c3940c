"""Likeness of sentences by a model: what finds echoes that are told in other words."""
