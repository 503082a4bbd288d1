"""Synthetic people: bodies, clothes, light and cameras, and their labels."""
