"""The "standard" augmentation: its parameters, drawn, and then applied."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sapiens2_jax.pretrain import image_ops as ops


class Photometric(NamedTuple):
  """What happens to the pixels of a view, in this order.

  Attributes:
    brightness, contrast, saturation: factors; 1 changes nothing.
    hue: shift, as a share of the full circle.
    is_jittered: whether the four above are applied.
    is_gray: whether the view loses its colour.
    sigma: of the blur, in pixels.
    is_blurred: whether it is applied.
    is_solarized: whether bright pixels are inverted.
  """

  brightness: Float[Array, "*b"]
  contrast: Float[Array, "*b"]
  saturation: Float[Array, "*b"]
  hue: Float[Array, "*b"]
  is_jittered: Bool[Array, "*b"]
  is_gray: Bool[Array, "*b"]
  sigma: Float[Array, "*b"]
  is_blurred: Bool[Array, "*b"]
  is_solarized: Bool[Array, "*b"]


def draw_photometric(
  rng: PRNGKeyArray,
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
) -> Photometric:
  """Draws what happens to one view.

  Factors are uniform in [1 - x, 1 + x], the hue shift in [-hue, hue], sigma
  in `blur_sigma` (pixels). A parameter is drawn whether or not its operation
  is applied.

  Source: DINO family.
  """
  # One draw for everything: each call of the generator is a program of its
  # own to compile.
  uniform = jax.random.uniform(rng, (9,))

  def chance(i: int, probability: float) -> Array:
    return uniform[i] < probability

  def draw(i: int, low: float, high: float) -> Array:
    return low + (high - low) * uniform[i]

  return Photometric(
    brightness=draw(0, 1 - brightness, 1 + brightness),
    contrast=draw(1, 1 - contrast, 1 + contrast),
    saturation=draw(2, 1 - saturation, 1 + saturation),
    hue=draw(3, -hue, hue),
    is_jittered=chance(4, jitter_probability),
    is_gray=chance(5, grayscale_probability),
    sigma=draw(6, *blur_sigma),
    is_blurred=chance(7, blur_probability),
    is_solarized=chance(8, solarize_probability),
  )


def apply_photometric(image: ops.Image, drawn: Photometric) -> ops.Image:
  """Applies to one image (3, h, w) in [0, 1] what was drawn for it.

  Jitter acts in the order brightness, contrast, saturation, hue; then come
  grayscale, blur and solarize.

  Source: DINO family; the fixed order: ours (torchvision shuffles it).
  """
  jittered = ops.adjust_brightness(image, drawn.brightness)
  jittered = ops.adjust_contrast(jittered, drawn.contrast)
  jittered = ops.adjust_saturation(jittered, drawn.saturation)
  jittered = ops.adjust_hue(jittered, drawn.hue)
  image = jnp.where(drawn.is_jittered, jittered, image)
  image = jnp.where(drawn.is_gray, ops.luma(image), image)

  def finish(plane: Array) -> Array:
    blurred = ops.gaussian_blur(plane, drawn.sigma)
    plane = jnp.where(drawn.is_blurred, blurred, plane)
    return jnp.where(drawn.is_solarized, ops.solarize(plane), plane)

  # A loop, because XLA would otherwise compute the blur within what follows,
  # the cutting into patches, whose order of pixels is a slow one for it.
  return jax.lax.map(finish, image)
