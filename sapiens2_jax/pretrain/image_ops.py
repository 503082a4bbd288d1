"""Photometric operations on the device, float32 pixels in [0, 1].

Those that jitter, blur or solarize act on one image (3, h, w) with scalar
parameters, so that `vmap` gives every view its own. Planes, because rows of
one channel are what a vector unit is filled with. They compute what
torchvision v2 computes.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

GRAY = (0.2989, 0.587, 0.114)
BLUR_RADIUS = 4  # kernel of 9 pixels; covers sigma up to 2
SOLARIZE_THRESHOLD = 128 / 255

Image = Float[ArrayLike, "3 h w"]
Plane = Float[ArrayLike, "h w"]
Scalar = Float[ArrayLike, ""]


def flip(
  pixels: Float[ArrayLike, "h w 3"], flipped: Bool[ArrayLike, ""]
) -> Float[Array, "h w 3"]:
  """Mirrors left and right where `flipped` is true."""
  return jnp.where(flipped, pixels[:, ::-1], pixels)


def luma(image: Image | list[Scalar]) -> Float[Array, "*hw"]:
  """Brightness as the eye weighs it: the sum of channels times `GRAY`."""
  # Not a matrix product: a TPU would round its factors to bfloat16.
  return sum(weight * plane for weight, plane in zip(GRAY, image))


def _blend(image: Image, other: ArrayLike, factor: Scalar) -> Image:
  return jnp.clip(factor * image + (1 - factor) * other, 0.0, 1.0)


def adjust_brightness(image: Image, factor: Scalar) -> Image:
  """Blends with black; 1 changes nothing."""
  return jnp.clip(factor * image, 0.0, 1.0)


def adjust_contrast(image: Image, factor: Scalar) -> Image:
  """Blends with the image's mean luma; 1 changes nothing."""
  # The mean of the luma; means of planes are cheaper than another plane.
  return _blend(image, luma([jnp.mean(plane) for plane in image]), factor)


def adjust_saturation(image: Image, factor: Scalar) -> Image:
  """Blends with the luma; 0 gives gray, 1 changes nothing."""
  return _blend(image, luma(image), factor)


def adjust_hue(image: Image, shift: Scalar) -> Image:
  """Turns the hue by `shift`, a share of the full circle, in [-0.5, 0.5]."""
  r, g, b = image
  value = jnp.maximum(jnp.maximum(r, g), b)
  chroma = value - jnp.minimum(jnp.minimum(r, g), b)
  safe = jnp.maximum(chroma, 1e-9)  # below it there is no colour to turn
  # Not `value == r`: XLA may compute r twice, and round it differently.
  sector = jnp.where(
    (r >= g) & (r >= b),
    (g - b) / safe,
    jnp.where(g >= b, 2 + (b - r) / safe, 4 + (r - g) / safe),
  )
  hue = sector / 6 + shift
  hue = 6 * (hue - jnp.floor(hue))

  def channel(start: float) -> Plane:
    # HSV to RGB: value - chroma * clip(min(k, 4 - k), 0, 1), k modulo 6.
    k = start + hue
    k = jnp.where(k >= 6, k - 6, k)
    return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0.0, 1.0)

  return jnp.stack([channel(5.0), channel(3.0), channel(1.0)])


def gaussian_blur(
  image: Float[ArrayLike, "*c h w"], sigma: Scalar
) -> Float[Array, "*c h w"]:
  """Separable, 9 pixels wide, reflecting at the border; sigma in pixels."""
  offsets = jnp.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
  kernel = jnp.exp(-0.5 * (offsets / sigma) ** 2)
  kernel = kernel / jnp.sum(kernel)
  for axis in (image.ndim - 2, image.ndim - 1):
    # Shifted sums: grouped convolutions are slow on CPU and no faster on TPU.
    pad = [(0, 0)] * image.ndim
    pad[axis] = (BLUR_RADIUS, BLUR_RADIUS)
    padded = jnp.pad(image, pad, mode="reflect")
    size = image.shape[axis]
    image = sum(
      kernel[i] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
      for i in range(2 * BLUR_RADIUS + 1)
    )
  return image


def solarize(image: Float[ArrayLike, "*c h w"]) -> Float[Array, "*c h w"]:
  """Inverts pixels at or above 128 / 255."""
  return jnp.where(image >= SOLARIZE_THRESHOLD, 1.0 - image, image)
