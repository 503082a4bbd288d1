"""Pretrained encoders in one call."""

import os
from typing import Any

import jax.numpy as jnp

from sapiens2_jax.interop.weights import find_weights, read_weights
from sapiens2_jax.models.encoder import Encoder


def load_pretrained(
  path: str | os.PathLike,
  *,
  weights: str = "teacher",
  rope_dtype: str | None = None,
  dtype: Any = jnp.float32,
) -> tuple[Encoder, dict[str, Any]]:
  """Loads an encoder and its parameters, to compute features with.

      encoder, params = sapiens2_jax.load_pretrained("weights.safetensors")
      out = encoder.apply({"params": params}, images)
      out.cls, out.registers, out.patches

  Images are (b, h, w, 3) float32 RGB of any size, ImageNet-normalised.

  Args:
    path: a safetensors file or a directory with one (released files, our
      exports, transformers directories, whole or in shards), the output of
      `import_weights`, or a training workdir (its newest checkpoint).
    weights: "teacher" or "student" of a training workdir.
    rope_dtype: "float32" (transformers) or "bfloat16" (reference). None for
      that of the training run, "float32" for other sources.
    dtype: of the computation.

  Returns:
    The encoder, and nested dicts of float32 arrays on the default device.

  Raises:
    ValueError: if there are no weights, or they are damaged or of another
      model; lists missing, unexpected and wrongly shaped keys.
  """
  loaded = read_weights(find_weights(path, weights), "float32")
  encoder = Encoder(
    loaded.architecture,
    rope_dtype=rope_dtype or loaded.rope_dtype or "float32",
    dtype=dtype,
    layer_scale_init=loaded.layer_scale_init,
  )
  return encoder, to_device(loaded.params)


def to_device(params: dict[str, Any]) -> dict[str, Any]:
  """Makes every leaf a float32 JAX array, one at a time, in place."""
  for name, value in params.items():
    params[name] = (
      to_device(value)
      if isinstance(value, dict)
      else jnp.asarray(value, jnp.float32)
    )
  return params
