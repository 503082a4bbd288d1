"""Pictures of depth."""

import cv2
import numpy as np
from jaxtyping import Float

from sapiens2_jax.tasks import maps
from sapiens2_jax.tasks.base import Image

Depth = Float[np.ndarray, "h w"]  # metres, NaN where nobody is

_PERCENTILES = (1, 99)
_NEAREST, _FARTHEST = 0.1, 250.0  # metres
_GREY = 100


def depth_bounds(depth: Depth) -> tuple[float, float] | None:
  """Near and far end of a picture; None if nobody is in it.

  Source: the public Sapiens2 release.
  """
  known = depth[np.isfinite(depth)]
  if not known.size:
    return None
  near, far = np.percentile(known.astype(np.float32), _PERCENTILES)
  return float(near), float(far)


def draw_depth(depth: Depth, bounds: tuple[float, float] | None) -> Image:
  """1 / depth, the near bright, cut off at the bounds; grey where nobody is."""
  near, far = np.clip(bounds or (1, 1), _NEAREST, _FARTHEST)
  is_known = np.isfinite(depth)
  depth = np.where(is_known, depth, far).astype(np.float32)
  inverse = 1 / np.clip(depth, near, max(near, far))
  span = max(1 / near - 1 / far, 1e-6)
  levels = maps.to_uint8((inverse - 1 / far) / span)
  colored = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
  picture = cv2.cvtColor(colored, cv2.COLOR_BGR2RGB)
  return np.where(is_known[..., None], picture, np.uint8(_GREY))
