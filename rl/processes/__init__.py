"""The processes of a run: which one this is, how they agree, and that none outlives the others.

Nothing is imported here: place and spawn know no torch.
"""
