"""Shapes of which everything is known."""

import numpy as np


def make_ball(rows=24, cols=32):
  """A unit ball's vertices and triangles, counter-clockwise from outside."""
  theta = np.linspace(0, np.pi, rows + 1)[:, None]
  phi = np.linspace(0, 2 * np.pi, cols, endpoint=False)[None]
  points = np.stack(
    np.broadcast_arrays(
      np.sin(theta) * np.cos(phi), np.cos(theta), -np.sin(theta) * np.sin(phi)
    ),
    -1,
  ).reshape(-1, 3)
  r, c = np.mgrid[:rows, :cols]
  a, b = r * cols + c, r * cols + (c + 1) % cols
  quads = np.stack([a, a + cols, b + cols, b], -1).reshape(-1, 4)
  triangles = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
  return points, triangles.astype(np.int32)
