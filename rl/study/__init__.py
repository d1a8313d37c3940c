"""Arms times seeds: what a method is worth against its controls."""
