"""What a run writes down: the run directory, progress, wandb. Only what a module needs is imported, so that reports are quick."""
