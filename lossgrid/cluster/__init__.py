"""SLURM: jobs rendered as batch scripts, submitted, and found again in the queue."""
