"""Detectors that ship inside packages, taken out once into a folder."""
