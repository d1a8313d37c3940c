"""Send runs to a cluster through Slurm, and ask after them. No torch."""
