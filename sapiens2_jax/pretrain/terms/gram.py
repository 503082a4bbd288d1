"""L_Gram: the similarity of patches stays that of an earlier teacher.

From `objective.gram_start_step` on the teacher of that step is kept, frozen;
with `objective.gram_refresh_steps` above 0 the present one takes its place each
so many steps. Before, the term is 0.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.layers import normalize_features
from sapiens2_jax.pretrain.modules import Sizes
from sapiens2_jax.pretrain.terms import base
from sapiens2_jax.training import flops

_TEACHER = "gram_teacher"


def gram_losses(
  features: Float[ArrayLike, "b g n d"], anchors: Float[ArrayLike, "b g n d"]
) -> Float[Array, "b g"]:
  """Mean squared difference of two matrices of cosine similarities.

  Args:
    features: of the student's patches; L2-normalised here, in float32.
    anchors: of the same patches by the earlier teacher, of length 1.

  Returns:
    One number for each view.

  Source: DINOv3 (arXiv 2508.10104) section 4.2; at the patches that the student
  sees: ours.
  """
  x = normalize_features(features)
  anchors = lax.stop_gradient(anchors)
  found = jnp.einsum("bgid,bgjd->bgij", x, x)
  wanted = jnp.einsum("bgid,bgjd->bgij", anchors, anchors)
  return jnp.mean((found - wanted) ** 2, axis=(-1, -2))


class GramAnchoring(base.Term):
  """The student's visible patches against a frozen earlier teacher."""

  reads_whole_views = True
  loss_note = (
    "mean squared difference of patch similarities from those of an earlier "
    "teacher; 0 before objective.gram_start_step."
  )

  def init_statistics(self, params: dict) -> dict:
    return {_TEACHER: jax.tree.map(jnp.copy, params["encoder"])}

  def project(
    self, teacher: base.TeacherOutputs, statistics: dict, step: Array
  ):
    ids = teacher.views.visible_ids[..., None]

    def anchors() -> Array:
      _, patches = teacher.encode(statistics[_TEACHER])
      return normalize_features(jnp.take_along_axis(patches, ids, axis=2))

    shape = jax.eval_shape(anchors)
    is_on = step >= self.config.objective.gram_start_step
    found = lax.cond(
      is_on, anchors, lambda: jnp.zeros(shape.shape, shape.dtype)
    )
    return found, jnp.full(len(ids), is_on)

  def targets(self, projected: tuple, statistics: dict, step: Array):
    return projected, step, {}

  def loss(self, student: base.StudentOutputs, targets: tuple):
    anchors, is_on = targets
    with jax.named_scope("gram"):
      losses = gram_losses(student.patches, anchors)
      return jnp.mean(jnp.where(is_on[:, None], losses, 0.0)), {}

  def update_statistics(self, statistics: dict, found: Array, teacher: dict):
    objective = self.config.objective
    since = found + 1 - objective.gram_start_step
    is_due = since <= 0
    if objective.gram_refresh_steps:
      is_due |= since % objective.gram_refresh_steps == 0
    take = functools.partial(jnp.where, is_due)
    frozen = jax.tree.map(take, teacher["encoder"], statistics[_TEACHER])
    return {_TEACHER: frozen}

  def flops(self, sizes: Sizes) -> tuple[int, int]:
    arch = get_architecture(self.config.model.size)
    tokens = sizes.patches + arch.num_prefix_tokens
    frozen = flops.encoder_flops(arch, sizes.patches, tokens)
    gram = 2 * sizes.visible**2 * arch.embed_dim
    return sizes.num_global * gram, sizes.num_global * (frozen + gram)
