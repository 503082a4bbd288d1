"""Losses of pointmaps: x right, y down, z away from the camera.

Maps are canonical: metric ones times a scale s = canonical focal length /
focal length, so that one focal length fits them all.

Source: the public Sapiens2 release; arXiv 2604.21681 section 4.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sapiens2_jax.tasks.dense import Map, Mask, Scalar, masked_l1, masked_mean

Depth = Float[Array, "b h w"]
Intrinsics = Float[Array, "b 3 3"]
Scales = Float[Array, "b"]

_EPS = 1e-6
_MIN_DEPTH = 1e-4


def _sideways(z: Depth, intrinsics: Intrinsics) -> tuple[Depth, Depth]:
  """x and y at depth z, on the rays of the centres of all pixels."""
  rows = lax.broadcasted_iota(jnp.float32, z.shape, 1)
  cols = lax.broadcasted_iota(jnp.float32, z.shape, 2)
  k = intrinsics[:, :, :, None, None]
  x = (cols - k[:, 0, 2]) * z / k[:, 0, 0]
  y = (rows - k[:, 1, 2]) * z / k[:, 1, 1]
  return x, y


def unproject(depth: Depth, intrinsics: Intrinsics) -> Map:
  """The points of the centres of all pixels.

  Intrinsics are of the map in its own pixels, 0 at the centre of the first.
  """
  return jnp.stack([*_sideways(depth, intrinsics), depth], axis=-1)


def multiscale_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """`masked_l1` at twice the size: maps bilinear, mask by nearest."""
  b, h, w, c = prediction.shape
  # Enlarging is linear, so that of the difference is enough.
  error = jax.image.resize(
    prediction - target, (b, 2 * h, 2 * w, c), "bilinear"
  )
  mask = jnp.repeat(jnp.repeat(mask, 2, axis=1), 2, axis=2)
  return masked_l1(error, jnp.zeros_like(error), mask)


def silog_loss(prediction: Depth, target: Depth, mask: Mask) -> Scalar:
  """Error of the logarithm of depth, half of whose mean is forgiven.

  Per sample sqrt(mean(d^2) - mean(d)^2 / 2), then the mean of the batch.
  """
  d = jnp.log(jnp.maximum(target, _MIN_DEPTH))
  d = d - jnp.log(jnp.maximum(prediction, _MIN_DEPTH))
  d = jnp.where(mask, d, 0)
  count = jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1)
  mean = jnp.sum(d, axis=(1, 2)) / count
  variance = jnp.sum(d * d, axis=(1, 2)) / count - 0.5 * mean**2
  # The root of zero has no gradient.
  return jnp.mean(jnp.sqrt(jnp.maximum(variance, _EPS**2)))


def intrinsics_loss(
  prediction: Map, intrinsics: Intrinsics, mask: Mask
) -> Scalar:
  """How far, in x and y, points are off the rays of their pixels.

  Points are canonical: a scale changes no ray.
  """
  x, y, z = jnp.moveaxis(prediction, -1, 0)
  ray_x, ray_y = _sideways(z, intrinsics)
  return masked_mean(jnp.abs(x - ray_x) + jnp.abs(y - ray_y), mask)


def shift_invariant_loss(prediction: Map, target: Map, mask: Mask) -> Scalar:
  """`masked_l1` after each map's centroid is taken from it."""

  def center(points: Map) -> Map:
    total = jnp.sum(points, axis=(1, 2), keepdims=True, where=mask[..., None])
    count = jnp.sum(mask, axis=(1, 2))[:, None, None, None]
    return points - total / (count + _EPS)

  return masked_l1(center(prediction), center(target), mask)


def surface_loss(
  prediction: Map, target: Map, scale: Scales, mask: Mask
) -> Scalar:
  """Error of the normals that both maps imply: 1 - cos, plus mean |n - m|.

  Maps are canonical; metres are canonical / scale of the target.

  Ours: a pixel counts if its neighbours to the right and below are in the
  mask too; the reference takes all, and outside the mask its targets are 0.
  """
  metric = 1 / scale[:, None, None, None]
  found, _ = _normals(prediction * metric)
  wanted, is_surface = _normals(target * metric)
  right, below = (_next(mask, axis) for axis in (2, 1))
  valid = mask & right & below & is_surface
  cosine = jnp.clip(jnp.sum(found * wanted, axis=-1), -1, 1)
  error = 1 - cosine + jnp.mean(jnp.abs(found - wanted), axis=-1)
  return masked_mean(error, valid)


def scale_loss(prediction: Scales, target: Scales) -> Scalar:
  """Mean |difference| of scales."""
  return jnp.mean(jnp.abs(prediction - target))


def _next(x: Array, axis: int) -> Array:
  """The neighbour along an axis; at the end, the one before (reflected)."""
  size = x.shape[axis]
  body = lax.slice_in_dim(x, 1, size, axis=axis)
  last = lax.slice_in_dim(x, size - 2, size - 1, axis=axis)
  return jnp.concatenate([body, last], axis=axis)


def _normals(points: Map) -> tuple[Map, Mask]:
  """Unit normals from neighbours, 0 where there is none; and where not."""
  # Times 100: centimetres, beside which eps is small.
  across, down = (100 * (_next(points, axis) - points) for axis in (2, 1))
  normals = jnp.cross(across, down)
  square = jnp.sum(normals * normals, axis=-1)
  is_surface = square > _EPS**2
  inverse = lax.rsqrt(jnp.where(is_surface, square, 1.0))
  inverse = jnp.where(is_surface, inverse, 0.0)
  return normals * inverse[..., None], is_surface
