"""Photometric operations on the device, float32 pixels in [0, 1].

All act on one image (h, w, 3) with scalar parameters, so that `vmap` gives
every view its own. They follow torchvision v2 in what they compute.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GRAY = (0.2989, 0.587, 0.114)
BLUR_RADIUS = 4  # kernel of 9 pixels; covers sigma up to 2
SOLARIZE_THRESHOLD = 128 / 255

Image = Float[ArrayLike, "h w 3"]


def normalize(images: Float[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """Pixels in [0, 1] to ImageNet-normalised. Source: paper."""
  return (images - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)


def denormalize(images: Float[ArrayLike, "*b 3"]) -> Float[Array, "*b 3"]:
  """Inverse of `normalize`."""
  return images * jnp.array(IMAGENET_STD) + jnp.array(IMAGENET_MEAN)


def _luma(image: Image) -> Float[Array, "h w 1"]:
  return image @ jnp.array(GRAY)[:, None]


def _blend(image: Image, other: ArrayLike, factor: ArrayLike) -> Image:
  return jnp.clip(factor * image + (1 - factor) * other, 0.0, 1.0)


def adjust_brightness(image: Image, factor: ArrayLike) -> Image:
  return _blend(image, jnp.zeros(()), factor)


def adjust_contrast(image: Image, factor: ArrayLike) -> Image:
  return _blend(image, jnp.mean(_luma(image)), factor)


def adjust_saturation(image: Image, factor: ArrayLike) -> Image:
  return _blend(image, _luma(image), factor)


def adjust_hue(image: Image, shift: ArrayLike) -> Image:
  """Turns the hue by `shift`, a share of the full circle."""
  value = jnp.max(image, axis=-1)
  chroma = value - jnp.min(image, axis=-1)
  safe = jnp.where(chroma > 0, chroma, 1.0)
  r, g, b = image[..., 0], image[..., 1], image[..., 2]
  sector = jnp.where(
    value == r,
    (g - b) / safe,
    jnp.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe),
  )
  hue = (sector / 6 + shift) % 1.0
  # Channel n of HSV to RGB: value - chroma * clip(min(k, 4 - k), 0, 1).
  k = (jnp.array([5.0, 3.0, 1.0]) + 6 * hue[..., None]) % 6
  ramp = jnp.clip(jnp.minimum(k, 4 - k), 0.0, 1.0)
  return value[..., None] - chroma[..., None] * ramp


def gaussian_blur(image: Image, sigma: ArrayLike) -> Image:
  """Separable, 9 pixels wide, reflecting at the border."""
  offsets = jnp.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
  kernel = jnp.exp(-0.5 * (offsets / sigma) ** 2)
  kernel = kernel / jnp.sum(kernel)
  for axis in (0, 1):
    # Shifted sums: grouped convolutions are slow on CPU and no faster on TPU.
    pad = [(0, 0)] * 3
    pad[axis] = (BLUR_RADIUS, BLUR_RADIUS)
    padded = jnp.pad(image, pad, mode="reflect")
    size = image.shape[axis]
    image = sum(
      kernel[i] * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
      for i in range(2 * BLUR_RADIUS + 1)
    )
  return image


def solarize(image: Image) -> Image:
  """Inverts pixels at or above 128 / 255."""
  return jnp.where(image >= SOLARIZE_THRESHOLD, 1.0 - image, image)


def flip(image: Image, flipped: ArrayLike) -> Image:
  """Mirrors left and right where `flipped` is true."""
  return jnp.where(flipped, image[:, ::-1], image)


def standard_augmentation(
  rng: PRNGKeyArray,
  image: Image,
  *,
  brightness: float,
  contrast: float,
  saturation: float,
  hue: float,
  jitter_probability: float,
  grayscale_probability: float,
  blur_probability: float,
  blur_sigma: tuple[float, float],
  solarize_probability: float,
) -> Image:
  """Colour jitter, grayscale, blur and solarize, each with its probability.

  Jitter factors are uniform in [1 - x, 1 + x], the hue shift in [-hue, hue];
  jitter acts in the order brightness, contrast, saturation, hue.

  Source: DINO family; the fixed order: ours (torchvision shuffles it).
  """
  # One draw for everything: each call of the generator is a program of its
  # own to compile.
  uniform = jax.random.uniform(rng, (9,))

  def chance(i: int, probability: float) -> Array:
    return uniform[i] < probability

  def draw(i: int, low: float, high: float) -> Array:
    return low + (high - low) * uniform[i]

  jittered = adjust_brightness(image, draw(0, 1 - brightness, 1 + brightness))
  jittered = adjust_contrast(jittered, draw(1, 1 - contrast, 1 + contrast))
  jittered = adjust_saturation(
    jittered, draw(2, 1 - saturation, 1 + saturation)
  )
  jittered = adjust_hue(jittered, draw(3, -hue, hue))
  image = jnp.where(chance(4, jitter_probability), jittered, image)
  image = jnp.where(
    chance(5, grayscale_probability),
    jnp.broadcast_to(_luma(image), image.shape),
    image,
  )
  blurred = gaussian_blur(image, draw(6, *blur_sigma))
  image = jnp.where(chance(7, blur_probability), blurred, image)
  return jnp.where(chance(8, solarize_probability), solarize(image), image)
