"""Which patches are hidden, what the student makes of them, and its loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from sapiens2_jax.evaluation import encoding
from sapiens2_jax.models import batching
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.pretrain import masks
from sapiens2_jax.pretrain.objective import Batch, PretrainObjective
from sapiens2_jax.pretrain.terms import reconstruction

Patches = Float[np.ndarray, "b n p"]
Hidden = Float[np.ndarray, "b m p"]  # the masked patches
Ids = Int[np.ndarray, "b m"]  # of them
Losses = Float[np.ndarray, "b"]


def to_patches(
  images: UInt8[np.ndarray, "b h w 3"], patch_size: int
) -> Patches:
  """uint8 RGB to patches of ImageNet-normalised pixels."""
  pixels = pixel_lib.from_uint8(images)
  return np.asarray(pixel_lib.patchify(pixels, patch_size))


def output_patches(patches: Patches, grid: TokenGrid) -> Patches:
  """The same at the resolution that is predicted."""
  side = grid.output_pixels_per_token
  return np.asarray(pixel_lib.shrink_patches(patches, side))


def draw_masks(
  count: int, grid: tuple[int, int], settings: dict
) -> tuple[Int[np.ndarray, "b k"], Ids]:
  """`count` masks as `settings` of training say; always the same.

  Returns:
    Ids of the visible and of the masked patches.
  """
  draw = functools.partial(masks.draw_mask, grid=grid, **settings)
  ids = jax.vmap(draw)(jax.random.split(jax.random.key(0), count))
  return tuple(map(np.asarray, ids))


@functools.partial(jax.jit, static_argnums=0)
def training_views(
  objective: PretrainObjective, batch: Batch, rng: Array
) -> tuple[Array, Array, Array]:
  """Global views of training: patches (b, v, n, p), visible and masked ids."""
  views = objective.make_views(batch, rng)
  return views.patches, views.visible_ids, views.masked_ids


@functools.partial(jax.jit, static_argnums=0)
def _predict(
  objective: PretrainObjective, params: dict, patches: Array, *ids: Array
) -> Array:
  encoder, variables = objective.encoder, {"params": params["encoder"]}
  x, rope = encoder.apply(
    variables, patches, objective.grid, ids[0], method="tokenize"
  )
  x = encoder.apply(variables, x, rope, method="encode")
  features = x[:, encoder.architecture.num_prefix_tokens :]
  one_view = (x[:, None] for x in (features, *ids))
  out = objective.reconstruct(params, *one_view, objective.grid)
  return out.patches[:, 0]


def measure(
  objective: PretrainObjective,
  params: dict,
  patches: Patches,
  visible_ids: Int[np.ndarray, "b k"],
  masked_ids: Ids,
) -> tuple[Hidden, Hidden, Losses, Losses]:
  """What the student predicts of masked patches, and how good that is.

  Args:
    objective: the modules, and the grid of the images.
    params: the student's, of `encoder` and `decoder`.
    patches: ImageNet-normalised, of whole images, as the encoder takes them.
    visible_ids: what the encoder may see.
    masked_ids: what the decoder has to predict.

  Returns:
    Predicted (normalised) and true patches, and for each image the loss and
    that of predicting each patch's own mean.
  """
  predictions = batching.map_batches(
    functools.partial(_predict, objective, params),
    encoding.chunk_size(patches.shape[1]),
    *(patches, visible_ids, masked_ids),
  )
  hidden = take_patches(output_patches(patches, objective.grid), masked_ids)
  return predictions, hidden, *reconstruction_losses(predictions, hidden)


def take_patches(patches: Patches, ids: Ids) -> Hidden:
  """The patches `ids` of each image."""
  return np.take_along_axis(patches, ids[..., None], axis=1)


def reconstruction_losses(
  predictions: Hidden, hidden: Hidden
) -> tuple[Losses, Losses]:
  """The loss of each image, and of predicting each patch's own mean.

  In normalised pixels that mean is 0. The second number stays below 1 where
  patches are flat, and is (p - 1) / p where none is.
  """

  def loss(values):
    errors = reconstruction.patch_errors(jnp.asarray(values), hidden)
    return np.asarray(errors).mean(axis=1)

  return loss(predictions), loss(np.zeros_like(hidden))


def unnormalize(predictions: Hidden, hidden: Hidden) -> Hidden:
  """Predicted normalised pixels with mean and std of the true patch."""
  mean, std = reconstruction.patch_moments(jnp.asarray(hidden))
  return predictions * np.asarray(std) + np.asarray(mean)


def paste(
  patches: Patches, ids: Ids, values: Hidden, grid: TokenGrid
) -> Float[np.ndarray, "b h w 3"]:
  """Images in [0, 1] in which the patches `ids` are replaced by `values`.

  All are at the resolution that is predicted.
  """
  patches = np.array(patches)
  np.put_along_axis(patches, ids[..., None], values, axis=1)
  pixels = pixel_lib.unpatchify(
    jnp.asarray(patches), grid.shape, grid.output_pixels_per_token
  )
  return np.clip(np.asarray(pixel_lib.denormalize(pixels)), 0.0, 1.0)
