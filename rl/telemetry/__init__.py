"""What a run writes down: the run directory, progress, wandb.

Nothing is imported here, so that reading a run directory stays quick.
"""
