"""L_KoLeo: keeps the features of different images apart."""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sapiens2_jax import errors
from sapiens2_jax.models.layers import normalize_features
from sapiens2_jax.pretrain.terms.base import StudentOutputs, Term


def koleo_loss(
  features: Float[ArrayLike, "b d"], *, group_size: int, eps: float = 1e-8
) -> Float[Array, ""]:
  """Minus the mean log distance to the nearest neighbour.

  Args:
    features: [cls] embeddings before the projection head, any float dtype;
      computed in float32, L2-normalised here.
    group_size: neighbours are looked for among this many consecutive samples;
      must divide b and be at least 2.
    eps: added to each component of the difference, and to the distance before
      the logarithm, so that duplicates stay finite.

  Returns:
    Scalar in nats, float32.

  Raises:
    ValueError: if `group_size` does not divide b or is below 2.

  Source: arXiv 1806.03198 (loss), arXiv 2604.21681 (weight 0.04), DINOv3
  (eps, groups).
  """
  b, d = features.shape
  if group_size < 2 or b % group_size:
    raise ValueError(
      f"group_size={group_size} must be at least 2 and divide the batch ({b})."
    )
  x = normalize_features(features.reshape(-1, group_size, d), eps)
  similarity = lax.stop_gradient(jnp.einsum("gid,gjd->gij", x, x))
  similarity = jnp.where(jnp.eye(group_size, dtype=bool), -1.0, similarity)
  nearest = jnp.argmax(similarity, axis=-1)
  neighbor = jnp.take_along_axis(x, nearest[..., None], axis=1)
  distance = jnp.sqrt(jnp.sum((x - neighbor + eps) ** 2, axis=-1))
  return -jnp.mean(jnp.log(distance + eps))


# By `objective.koleo_reduction`: losses of the global views, and their number.
REDUCTIONS = {
  "sum": lambda total, num_global: total,
  "mean": lambda total, num_global: total / num_global,
}


class KoLeo(Term):
  """L_KoLeo of [cls] over the global views.

  Source: that DINOv3's code sums them; the paper gives the weight alone.
  """

  loss_note = (
    "minus the mean log distance to the nearest other image, in nats, over "
    "the global views as objective.koleo_reduction says: lower is further "
    "apart."
  )

  def loss(self, student: StudentOutputs, targets: tuple) -> tuple[Array, dict]:
    objective = self.config.objective
    reduce = errors.lookup(
      REDUCTIONS, objective.koleo_reduction, "objective.koleo_reduction"
    )
    num_global = student.patches.shape[1]
    views = (student.cls[:, view] for view in range(num_global))
    losses = (
      koleo_loss(view, group_size=objective.koleo_group_size) for view in views
    )
    return reduce(sum(losses), num_global), {}
