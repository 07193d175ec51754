"""A run: its steps on every rank, and what only rank 0 does."""
