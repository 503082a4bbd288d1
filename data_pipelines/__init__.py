"""Photographs in, batches of uint8 crops out: NumPy, Grain and PIL only."""
