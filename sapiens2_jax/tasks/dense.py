"""Losses of maps, over the pixels of people.

Predictions and targets are (b, h, w, c), masks (b, h, w) bool. Everything is
computed in float32; statistics run over the GLOBAL batch. An empty mask gives
0. A loss that is not finite stays so: the trainer skips that update (the
reference counts it as 0).

Source: the public Sapiens2 release; arXiv 2604.21681 section 4.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

Map = Float[Array, "b h w c"]
Mask = Bool[Array, "b h w"]
Scalar = Float[Array, ""]


def masked_mean(values: Float[Array, "b h w"], mask: Mask) -> Scalar:
  """Sum over the mask by the number of its pixels, at least 1."""
  total = jnp.sum(values.astype(jnp.float32), where=mask)
  return total / jnp.maximum(jnp.sum(mask), 1)


def masked_l1(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """|difference|, SUMMED over channels, mean over the mask."""
  return masked_mean(jnp.sum(jnp.abs(prediction - target), axis=-1), mask)


def unit(vectors: Float[Array, "*b c"], eps: float) -> Float[Array, "*b c"]:
  """v / max(|v|, eps), with a finite gradient at zero."""
  square = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
  return vectors * lax.rsqrt(jnp.maximum(square, eps * eps))


def cosine_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """Mean of 1 - cos(angle) over the mask."""
  cosine = jnp.sum(unit(prediction, 1e-6) * unit(target, 1e-6), axis=-1)
  return masked_mean(1 - cosine, mask)


def gradient_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """Squared error of the differences of neighbours, across plus down.

  Summed over channels, a mean over pairs with both pixels in the mask.
  """
  error = prediction - target
  across = error[:, :, 1:] - error[:, :, :-1]
  down = error[:, 1:] - error[:, :-1]
  return masked_mean(
    jnp.sum(across * across, axis=-1), mask[:, :, 1:] & mask[:, :, :-1]
  ) + masked_mean(jnp.sum(down * down, axis=-1), mask[:, 1:] & mask[:, :-1])


def chromaticity_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """`masked_l1` of colours divided by their sum; prediction cut to [0, 1]."""

  def chromaticity(x: Map) -> Map:
    return x / (jnp.sum(x, axis=-1, keepdims=True) + 1e-6)

  prediction = chromaticity(jnp.clip(prediction, 0, 1))
  return masked_l1(prediction, chromaticity(target), mask)
