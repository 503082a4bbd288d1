"""From photographs to training batches, without JAX or the model's code.

Builds and checks corpora, renders synthetic people, reads datasets of many
formats, and loads batches of uint8 examples.
"""
