"""L_MAE: mean squared error of normalised masked patches."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.pretrain import modules as modules_lib
from sapiens2_jax.pretrain.terms.base import StudentOutputs, Term

EPS = 1e-6


def patch_moments(
  patches: Float[ArrayLike, "*b p"],
) -> tuple[Float[Array, "*b 1"], Float[Array, "*b 1"]]:
  """Mean and standard deviation of each patch (unbiased, eps 1e-6 inside)."""
  mean = jnp.mean(patches, axis=-1, keepdims=True)
  variance = jnp.var(patches, axis=-1, keepdims=True, ddof=1)
  return mean, jnp.sqrt(variance + EPS)


def normalize_patches(
  patches: Float[ArrayLike, "*b p"],
) -> Float[Array, "*b p"]:
  """(x - mean) / sqrt(var + 1e-6) of each patch, var with n - 1.

  Source: arXiv 2111.06377 (code), arXiv 2604.21681.
  """
  mean, std = patch_moments(patches)
  return (patches - mean) / std


def patch_errors(
  predictions: Float[ArrayLike, "*b p"], patches: Float[ArrayLike, "*b p"]
) -> Float[Array, "*b"]:
  """Mean squared error of each patch against its normalised pixels.

  Args:
    predictions: of normalised pixels, any float dtype; computed in float32.
    patches: ImageNet-normalised pixels in row, column, channel order.
  """
  error = predictions.astype(jnp.float32) - normalize_patches(patches)
  return jnp.mean(error * error, axis=-1)


class Reconstruction(Term):
  """L_MAE of the masked patches, through the decoder."""

  loss_note = "mean squared error of masked patches in normalised pixels."

  def modules(self) -> dict[str, modules_lib.Learned]:
    return {"decoder": modules_lib.build_decoder(self.config)}

  def loss(self, student: StudentOutputs, targets: tuple) -> tuple[Array, dict]:
    with jax.named_scope("decoder"):
      masked_ids = student.views.masked_ids[..., None]
      hidden = jnp.take_along_axis(student.views.patches, masked_ids, axis=2)
      side = student.views.grid.output_pixels_per_token
      hidden = pixel_lib.shrink_patches(hidden, side)
      return jnp.mean(patch_errors(student.decoded.patches, hidden)), {}

  def flops(self, sizes: modules_lib.Sizes) -> tuple[int, int]:
    return sizes.num_global * modules_lib.decoder_flops(self.config, sizes), 0
