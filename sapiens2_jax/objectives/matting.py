"""Losses of mattes: values, edges and a Laplacian pyramid.

All are means over ALL elements of (b, h, w, c), not over the mask alone.

Source: the public Sapiens2 release.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sapiens2_jax.objectives.dense import Map, Mask, Scalar

NUM_LEVELS = 5
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def l1_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """Mean |difference|, which counts inside the mask."""
  return _masked(jnp.abs(prediction - target), mask)


def sobel_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """Mean |difference| of the sizes of Sobel gradients."""
  return _masked(jnp.abs(_sobel(prediction) - _sobel(target)), mask)


def laplacian_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """Mean |difference| of 5 levels of a pyramid, level i times 2^i / 5.

  Raises:
    ValueError: the map is too small for that many levels.
  """
  # A pyramid is linear, so that of the difference is enough.
  image = prediction - target
  if min(image.shape[1:3]) < 3 * 2 ** (NUM_LEVELS - 1):
    raise ValueError(
      f"a map of {image.shape[1:3]} is too small for {NUM_LEVELS} levels: "
      f"each side needs {3 * 2 ** (NUM_LEVELS - 1)} pixels."
    )
  loss = jnp.zeros(())
  for level in range(NUM_LEVELS):
    band = image
    if level < NUM_LEVELS - 1:
      _, h, w, _ = image.shape
      image, mask = (x[:, : h // 2 * 2, : w // 2 * 2] for x in (image, mask))
      small = _blur(image)[:, ::2, ::2]
      band = image - _enlarge(small)
    loss += 2**level * _masked(jnp.abs(band), mask)
    if level < NUM_LEVELS - 1:
      image, mask = small, mask[:, ::2, ::2]
  return loss / NUM_LEVELS


def _masked(error: Map, mask: Mask) -> Scalar:
  return jnp.mean(jnp.where(mask[..., None], error, 0))


def _correlate(
  x: Map, weights: tuple[float, ...], axis: int
) -> Float[Array, "b _ _ c"]:
  """Along one axis, reflected at its ends; shifts beat a grouped conv."""
  reach = len(weights) // 2
  pad = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
  padded = jnp.pad(x, pad, mode="reflect")
  size = x.shape[axis]
  total = jnp.zeros_like(x)
  for i, weight in enumerate(weights):
    index = [slice(None)] * 4
    index[axis] = slice(i, i + size)
    total += weight * padded[tuple(index)]
  return total


def _blur(x: Map) -> Map:
  return _correlate(_correlate(x, _BINOMIAL, 1), _BINOMIAL, 2)


def _enlarge(x: Map) -> Float[Array, "b _ _ c"]:
  between = (0, 1, 1)  # a zero behind every pixel
  zeros = lax.pad(x, 0.0, [(0, 0, 0), between, between, (0, 0, 0)])
  return 4 * _blur(zeros)


def _sobel(x: Map) -> Map:
  smooth, slope = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
  across = _correlate(_correlate(x, smooth, 1), slope, 2)
  down = _correlate(_correlate(x, slope, 1), smooth, 2)
  return jnp.sqrt(across**2 + down**2 + 1e-6)
