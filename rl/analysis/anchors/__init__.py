"""Which sentences of a reasoning the rest hangs on: thought anchors (arXiv 2506.19143)."""
