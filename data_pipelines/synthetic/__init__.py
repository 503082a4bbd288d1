"""Synthetic people: bodies, clothes, light and cameras, and their labels."""

from data_pipelines.common import packages

packages.require("numba", "synthetic")
