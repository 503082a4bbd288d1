"""From the loader's crops to the views that the model sees.

The only place where keys, flips, augmentation and normalisation meet: the
training step and every picture of its input call these two functions.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sapiens2_jax.pretrain import image_ops as ops
from sapiens2_jax.pretrain import keys
from sapiens2_jax.pretrain.photometric import (
  Photometric,
  apply_photometric,
  draw_photometric,
)

# What a batch holds: uint8 crops and the example each was cut from.
Batch = dict[str, Array]


class Views(NamedTuple):
  """Views of a batch and how they came about.

  Attributes:
    images: ImageNet-normalised, float32.
    flipped: whether a view was mirrored.
    photometric: its leaves (b, v); None if there is no such augmentation.
  """

  images: Float[Array, "b v h w 3"]
  flipped: Bool[Array, "b v"]
  photometric: Photometric | None


def global_views(batch: Batch, rng: PRNGKeyArray) -> Views:
  """Global crops, flipped and normalised.

  Args:
    batch: `global_crops` (b, v, h, w, 3) and `local_crops`, uint8, of which
      only the number of views matters; `index` and `epoch` (b,).
    rng: the run's key.

  Source: arXiv 2604.21681 (no colour augmentation: they are the target).
  """
  pixels, flipped = _flip("global_crops", batch, rng)
  return Views(ops.normalize(pixels), flipped, None)


def local_views(
  batch: Batch, rng: PRNGKeyArray, augment: Mapping[str, Any]
) -> Views:
  """Local crops, flipped, augmented and normalised.

  Args:
    batch: `local_crops` (b, v, h, w, 3) and `global_crops`, uint8, of which
      only the number of views matters; `index` and `epoch` (b,).
    rng: the run's key.
    augment: the arguments of `draw_photometric`, from the config.

  Source: arXiv 2604.21681; see `draw_photometric`.
  """
  pixels, flipped = _flip("local_crops", batch, rng)
  draw = functools.partial(draw_photometric, **augment)
  drawn = jax.vmap(jax.vmap(draw))(
    _keys(batch, rng, keys.PHOTOMETRIC, pixels.shape[1])
  )
  planes = jax.vmap(jax.vmap(apply_photometric))(
    jnp.moveaxis(pixels, -1, -3), drawn
  )
  return Views(ops.normalize(jnp.moveaxis(planes, -3, -1)), flipped, drawn)


def _keys(batch: Batch, rng: PRNGKeyArray, purpose: int, count: int) -> Array:
  return keys.example_keys(rng, purpose, batch["index"], batch["epoch"], count)


def _flip(
  crops: str, batch: Batch, rng: PRNGKeyArray
) -> tuple[Float[Array, "b v h w 3"], Bool[Array, "b v"]]:
  """Pixels in [0, 1], mirrored where drawn, and where that is."""
  # Global and local views draw different flips from one purpose.
  views = [batch[n].shape[1] for n in ("global_crops", "local_crops")]
  flip_keys = _keys(batch, rng, keys.FLIP, sum(views))
  start = 0 if crops == "global_crops" else views[0]
  flip_keys = flip_keys[:, start : start + batch[crops].shape[1]]
  flipped = jax.vmap(jax.vmap(jax.random.bernoulli))(flip_keys)
  pixels = batch[crops].astype(jnp.float32) / 255
  return jax.vmap(jax.vmap(ops.flip))(pixels, flipped), flipped
