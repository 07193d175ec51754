"""Who computes which grid points, when; knows nothing of networks or files."""
