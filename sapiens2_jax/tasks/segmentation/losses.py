"""The losses of body parts: cross-entropy and Dice."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from data_pipelines.corpus.labels import IGNORE
from sapiens2_jax.tasks.dense import Map, Scalar

Parts = UInt8[Array, "b h w"]

_SMOOTH = 1e-3


def match_labels(
  logits: Map, size: tuple[int, int]
) -> Float[Array, "b rows cols c"]:
  """Logits in float32, resized bilinearly to the labels' (height, width)."""
  shape = (len(logits), *size, logits.shape[-1])
  logits = logits.astype(jnp.float32)
  if logits.shape == shape:
    return logits
  return jax.image.resize(logits, shape, "bilinear", antialias=False)


def cross_entropy(
  logits: Map, parts: Parts, weights: Sequence[float]
) -> Scalar:
  """Weighted by class, in nats; the mean over all pixels.

  Pixels that are not known give 0 and count in the mean; it is not divided by
  the weights.

  Source: the public Sapiens2 release.
  """
  weights = jnp.asarray(weights, jnp.float32)
  # IGNORE is a row of zeros. A product has a fused gradient, a gather none.
  target = jax.nn.one_hot(parts, logits.shape[-1]) * weights
  log = jax.nn.log_softmax(logits, axis=-1)
  return -jnp.mean(jnp.sum(target * log, axis=-1))


def dice_losses(logits: Map, parts: Parts) -> Float[Array, "b"]:
  """1 - Dice of each image: the mean over the classes present in its labels.

  Without background; 0 for an image without foreground.

  Source: the public Sapiens2 release.
  """
  known = parts != IGNORE
  target = jax.nn.one_hot(parts, logits.shape[-1])  # IGNORE: all zero
  probability = jax.nn.softmax(logits, axis=-1) * known[..., None]
  probability, target = probability[..., 1:], target[..., 1:]
  overlap, squares, area = (
    jnp.sum(x, axis=(1, 2))
    for x in (probability * target, probability * probability, target)
  )
  dice = (2 * overlap + _SMOOTH) / (squares + area + _SMOOTH)
  present = area > 0
  count = jnp.sum(present, axis=-1)
  mean = jnp.sum(dice * present, axis=-1) / jnp.maximum(count, 1)
  return jnp.where(count > 0, 1 - mean, 0)


def pixel_accuracy(logits: Map, parts: Parts) -> Scalar:
  """Fraction of known pixels whose highest logit is the right one."""
  known = parts != IGNORE
  right = (jnp.argmax(logits, axis=-1) == parts) & known
  return jnp.sum(right) / jnp.maximum(jnp.sum(known), 1)
