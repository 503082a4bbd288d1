"""From the loader's crops to the views that the model sees.

The only place where keys, flips, augmentation, normalisation and masks meet:
teacher, student and every picture of their input take their views from here.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.pretrain import image_ops as ops
from sapiens2_jax.pretrain import keys, masks
from sapiens2_jax.pretrain.photometric import (
  Photometric,
  apply_photometric,
  draw_photometric,
)

# uint8 `global_crops` and `local_crops` (b, v, h, w, 3), and `index` and
# `epoch` (b,) of the example that they were cut from.
Batch = dict[str, Array]


class Augmented(NamedTuple):
  """Crops of a batch as the model sees them, and how they came about.

  Attributes:
    images: ImageNet-normalised, float32.
    flipped: whether a view was mirrored.
    photometric: its leaves (b, v); None if there is no such augmentation.
  """

  images: Float[Array, "b v h w 3"]
  flipped: Bool[Array, "b v"]
  photometric: Photometric | None


def global_views(batch: Batch, rng: PRNGKeyArray) -> Augmented:
  """Global crops, flipped and normalised; of local ones the number matters.

  Source: arXiv 2604.21681 (no colour augmentation: they are the target).
  """
  pixels, flipped = _flip("global_crops", batch, rng)
  return Augmented(pixel_lib.normalize(pixels), flipped, None)


def local_views(
  batch: Batch, rng: PRNGKeyArray, augment: Mapping[str, Any]
) -> Augmented:
  """Local crops, flipped, augmented and normalised.

  Args:
    batch: of the global crops only the number matters.
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
  return Augmented(
    pixel_lib.normalize(jnp.moveaxis(planes, -3, -1)), flipped, drawn
  )


class Views:
  """The views of a batch as tokens, each made when first asked for.

  Attributes:
    patches: (b, g, n, p) of the global views.
    local_patches: (b, l, m, p) of the local views.
    visible_ids, masked_ids: row-major numbers of the patches of each global
      view that the student sees, (b, g, n), and does not see, (b, g, m).
  """

  def __init__(
    self, batch: Batch, rng: PRNGKeyArray, config: ConfigDict, encoder: Encoder
  ):
    self._batch, self._rng = batch, rng
    self._config, self._encoder = config, encoder

  @functools.cached_property
  def patches(self) -> Float[Array, "b g n p"]:
    return self._encoder.patchify(global_views(self._batch, self._rng).images)

  @functools.cached_property
  def local_patches(self) -> Float[Array, "b l n p"]:
    settings = self._config.augment.to_dict()
    augmented = local_views(self._batch, self._rng, settings)
    return self._encoder.patchify(augmented.images)

  @property
  def visible_ids(self) -> Int[Array, "b g n"]:
    return self._masks[0]

  @property
  def masked_ids(self) -> Int[Array, "b g m"]:
    return self._masks[1]

  @functools.cached_property
  def grid(self) -> TokenGrid:
    """Of a global view."""
    return self._encoder.grid(self._batch["global_crops"].shape[2:4])

  @property
  def local_grid(self) -> TokenGrid:
    """Of a local view."""
    return self._encoder.grid(self._batch["local_crops"].shape[2:4])

  @functools.cached_property
  def _masks(self) -> tuple[Array, Array]:
    draw = functools.partial(
      masks.draw_mask,
      grid=self.grid.shape,
      **self._config.masking.to_dict(),
    )
    count = self._batch["global_crops"].shape[1]
    mask_keys = _keys(self._batch, self._rng, keys.MASK, count)
    return jax.vmap(jax.vmap(draw))(mask_keys)


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
