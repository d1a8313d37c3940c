"""Which rows of a data set take retrieval to read well: AttentionInfluence (arXiv 2505.07293)."""
