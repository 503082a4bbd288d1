"""Losses of mattes: values, edges and a Laplacian pyramid.

Of each channel alone, a mean over ALL pixels, not over the mask: predictions
and targets are (b, h, w, c), masks the same or one for all channels.

Source: the public Sapiens2 release.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from sapiens2_jax.tasks.dense import Map

Masks = Bool[Array, "b h w #c"]
PerChannel = Float[Array, "c"]

NUM_LEVELS = 5
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def l1_loss(prediction: Map, target: Map, mask: Masks) -> PerChannel:
  """Mean |difference|, which counts inside the mask."""
  return _masked(jnp.abs(prediction - target), mask)


def sobel_loss(prediction: Map, target: Map, mask: Masks) -> PerChannel:
  """Mean |difference| of the sizes of Sobel gradients."""
  return _masked(jnp.abs(_sobel(prediction) - _sobel(target)), mask)


def laplacian_loss(prediction: Map, target: Map, mask: Masks) -> PerChannel:
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
  loss = jnp.zeros(image.shape[-1])
  for level in range(NUM_LEVELS - 1):
    _, h, w, _ = image.shape
    image, mask = (x[:, : h // 2 * 2, : w // 2 * 2] for x in (image, mask))
    small = _correlate(_correlate(image, _BINOMIAL, 1, 2), _BINOMIAL, 2, 2)
    band = image - _enlarge(_enlarge(small, 1), 2)
    loss += 2**level * _masked(jnp.abs(band), mask)
    image, mask = small, mask[:, ::2, ::2]
  loss += 2 ** (NUM_LEVELS - 1) * _masked(jnp.abs(image), mask)
  return loss / NUM_LEVELS


def _masked(error: Map, mask: Masks) -> PerChannel:
  return jnp.mean(jnp.where(mask, error, 0), axis=(0, 1, 2))


def _slice(x: Array, axis: int, start: int, stop: int, step: int = 1) -> Array:
  return lax.slice_in_dim(x, start, stop, step, axis)


def _correlate(
  x: Map, weights: tuple[float, ...], axis: int, step: int = 1
) -> Float[Array, "b _ _ c"]:
  """Along an axis, reflected at its ends, at every `step`-th pixel."""
  reach, size = len(weights) // 2, x.shape[axis]
  before = [_slice(x, axis, i, i + 1) for i in range(reach, 0, -1)]
  after = [
    _slice(x, axis, i - 1, i) for i in range(size - 1, size - 1 - reach, -1)
  ]
  padded = jnp.concatenate([*before, x, *after], axis)
  # Shifts: a convolution of one channel leaves a TPU's matrix unit empty.
  return sum(
    weight * _slice(padded, axis, i, i + size, step)
    for i, weight in enumerate(weights)
  )


def _enlarge(x: Map, axis: int) -> Float[Array, "b _ _ c"]:
  """Twice as long: zeros between pixels, then twice the binomial blur.

  At the ends as reflecting what has zeros in it: one end mirrors the pixel
  beside the last, the other repeats the last.
  """
  size = x.shape[axis]
  before = jnp.concatenate(
    [_slice(x, axis, 1, 2), _slice(x, axis, 0, size - 1)], axis
  )
  after = jnp.concatenate(
    [_slice(x, axis, 1, size), _slice(x, axis, size - 1, size)], axis
  )
  even, odd = (before + 6 * x + after) / 8, (x + after) / 2
  shape = [*x.shape]
  shape[axis] *= 2
  return jnp.stack([even, odd], axis + 1).reshape(shape)


def _sobel(x: Map) -> Map:
  smooth, slope = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
  across = _correlate(_correlate(x, smooth, 1), slope, 2)
  down = _correlate(_correlate(x, slope, 1), smooth, 2)
  return jnp.sqrt(across**2 + down**2 + 1e-6)
