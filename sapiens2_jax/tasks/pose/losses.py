"""The loss of heatmaps of keypoints."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sapiens2_jax.tasks.base import Size
from sapiens2_jax.tasks.dense import Scalar
from sapiens2_jax.tasks.pose.codec import encode_heatmaps

Map = Float[Array, "b h w k"]
Points = Float[Array, "b k 2"]
Weights = Float[Array, "b k"]

WEIGHT = 10.0  # the public release


def heatmap_loss(heatmaps: Map, targets: Map, weights: Weights) -> Scalar:
  """10 times the mean squared error, float32; keypoints weigh 0 or 1.

  Keypoints of weight 0 count in the mean.

  Source: the public Sapiens2 release.
  """
  error = heatmaps.astype(jnp.float32) - targets
  return WEIGHT * jnp.mean(weights[:, None, None, :] * error * error)


def make_targets(points: Points, weights: Weights, size: Size) -> Map:
  """Heatmaps of (x, y) points in their pixels, made on the devices.

  An example of 1024 x 768 then carries 3 kB of points instead of 60 MB.
  """
  return encode_heatmaps(points, weights > 0.5, size, jnp)


def peak_accuracy(
  heatmaps: Map, points: Points, weights: Weights, threshold: float = 0.05
) -> Scalar:
  """Fraction of keypoints whose highest pixel is near; 0 without keypoints.

  Near: within `threshold`, where x is divided by the height and y by the
  width, as the public release does.
  """
  _, height, width, _ = heatmaps.shape
  flat = heatmaps.reshape(len(heatmaps), height * width, -1)
  place = jnp.argmax(flat, axis=1)
  found = jnp.stack([place % width, place // width], axis=-1)
  target = jnp.trunc(points + 0.5)
  scale = jnp.array([height, width], jnp.float32)
  near = jnp.linalg.norm((found - target) / scale, axis=-1) < threshold
  return jnp.sum(near * weights) / jnp.maximum(jnp.sum(weights), 1)
