"""L_CL: self-distillation of [cls] over prototypes.

Every statistic is one of the GLOBAL batch: under `jit` with sharded inputs
the means and sums below run over all devices.
"""

import jax.numpy as jnp
from jax import lax, nn
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def center_targets(
  logits: Float[ArrayLike, "*b k"],
  center: Float[ArrayLike, "k"],
  temperature: Float[ArrayLike, ""] | float,
) -> Float[Array, "*b k"]:
  """softmax((logits - center) / temperature). Source: DINO, paper."""
  return nn.softmax((logits - center) / temperature, axis=-1)


def update_center(
  center: Float[ArrayLike, "k"],
  batch_mean: Float[ArrayLike, "k"],
  momentum: float,
) -> Float[Array, "k"]:
  """EMA of the mean teacher logits over the global batch."""
  return center * momentum + batch_mean * (1 - momentum)


def sinkhorn_targets(
  logits: Float[ArrayLike, "*b k"],
  temperature: Float[ArrayLike, ""] | float,
  num_iterations: int = 3,
) -> Float[Array, "*b k"]:
  """Assigns samples to prototypes evenly over the whole batch.

  Args:
    logits: teacher logits of all views of the global batch.
    temperature: of the teacher.
    num_iterations: alternations of column and row normalisation.

  Returns:
    Probabilities over prototypes, each row sums to one.

  Source: DINOv3 (arXiv 2508.10104); in log space, so that no temperature
  overflows: ours.
  """
  shape = logits.shape
  scores = logits.reshape(-1, shape[-1]) / temperature
  for _ in range(num_iterations):
    scores = scores - nn.logsumexp(scores, axis=0, keepdims=True)
    scores = scores - nn.logsumexp(scores, axis=1, keepdims=True)
  return jnp.exp(scores).reshape(shape)


def pair_cross_entropy(
  student_logits: Float[ArrayLike, "b v k"],
  targets: Float[ArrayLike, "b g k"],
  temperature: float,
) -> Float[Array, "g v"]:
  """H(target of global view i, student view j), averaged over the batch.

  As each target sums to one, H = logsumexp(s) - target . s: no log-softmax of
  65536 prototypes is written to memory.
  """
  scores = student_logits.astype(jnp.float32) / temperature
  targets = lax.stop_gradient(targets)
  agreement = jnp.einsum("bgk,bvk->gv", targets, scores) / len(scores)
  return jnp.mean(nn.logsumexp(scores, axis=-1), axis=0) - agreement


def distillation_loss(
  student_logits: Float[ArrayLike, "b v k"],
  targets: Float[ArrayLike, "b g k"],
  temperature: float,
) -> Float[Array, ""]:
  """Mean cross-entropy in nats over all pairs of different views.

  Views are ordered global first, and target i belongs to student view i: with
  2 global and 4 local views, 2 + 2 * 4 = 10 pairs.

  Source: arXiv 2604.21681.
  """
  pairs = pair_cross_entropy(student_logits, targets, temperature)
  num_targets, num_views = pairs.shape
  different = ~jnp.eye(num_targets, num_views, dtype=bool)
  return jnp.mean(pairs, where=different)


def entropy(probabilities: Float[ArrayLike, "*b k"]) -> Float[Array, ""]:
  """Mean entropy in nats; 0 and log(k) both mean collapse."""
  log = jnp.log(jnp.maximum(probabilities, jnp.finfo(jnp.float32).tiny))
  return -jnp.mean(jnp.sum(probabilities * log, axis=-1))


def rank_me(features: Float[ArrayLike, "b d"], eps: float = 1e-7) -> Array:
  """Effective rank: exp of the entropy of the singular values.

  Between 1 (collapsed) and min(b, d). Source: arXiv 2210.02885. Singular
  values come from the Gram matrix of the shorter side.
  """
  x = features.astype(jnp.float32)
  gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
  singular = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram), 0.0))
  share = singular / (jnp.sum(singular) + eps) + eps
  return jnp.exp(-jnp.sum(share * jnp.log(share)))


def feature_std(features: Float[ArrayLike, "b d"]) -> Float[Array, ""]:
  """Mean standard deviation of L2-normalised features, times sqrt(d).

  About 1 for features spread over the sphere, 0 when collapsed.
  """
  x = features.astype(jnp.float32)
  x = x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-12)
  return jnp.mean(jnp.std(x, axis=0)) * jnp.sqrt(jnp.float32(x.shape[-1]))
