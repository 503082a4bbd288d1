"""The 308 keypoints as points of the MakeHuman base mesh.

A point is a weighted mean of vertices, so it follows whatever moves them:
shape, pose, gaze, facial actions. The table is keypoint_vertices.json; how
its vertices were chosen, and which points are guesses: docs/keypoints.md.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines import vocabulary

_FILE = "keypoint_vertices.json"
_FIELDS = {"vertices", "weights", "radius", "doubt", "reason"}
_MAX_RADIUS = 0.2  # Metres; no joint of a person lies deeper.


@dataclasses.dataclass(frozen=True, eq=False)
class KeypointTable:
  """Where the keypoints lie on a mesh."""

  num_vertices: int  # of the mesh the table is for
  vertices: np.ndarray  # (308, k) int32, filled up with 0
  # (308, k) float32, of a point adding up to 1, or all 0 where the mesh cannot
  # carry it; filled up with 0.
  weights: np.ndarray
  radius: np.ndarray  # (308,) float32 metres below the surface
  doubts: dict[str, str]  # name -> why the point is a guess


def keypoint_positions(vertices: np.ndarray) -> np.ndarray:
  """The keypoints of a posed body.

  Args:
    vertices: (19158, 3) float, all vertices of base.obj in its order, in any
      unit.

  Returns:
    (308, 3) float32 in the same unit; NaN where the mesh cannot carry one.

  Raises:
    ValueError: `vertices` are not of the mesh the table is for.
  """
  table = keypoint_table()
  if vertices.shape != (table.num_vertices, 3):
    raise ValueError(
      f"vertices: shape {vertices.shape}; the keypoints are points of a mesh"
      f" of shape ({table.num_vertices}, 3)."
    )
  corners = vertices[table.vertices].astype(np.float32)
  positions = np.einsum("nk,nkc->nc", table.weights, corners)
  is_carried = table.weights.any(1, keepdims=True)
  return np.where(is_carried, positions, np.float32(np.nan))


@functools.cache
def keypoint_table() -> KeypointTable:
  """The package's table, read once."""
  path = importlib.resources.files(__package__).joinpath(_FILE)
  names = vocabulary.keypoints()["names"]
  return parse_keypoint_table(json.loads(path.read_text()), names)


def parse_keypoint_table(told: dict, names: Sequence[str]) -> KeypointTable:
  """Turns the file's content into arrays.

  Args:
    told: fields `num_vertices` and `points`, name -> `vertices`, optional
      `weights` (else all alike), `radius` in metres and optional `doubt`; a
      point the mesh cannot carry has null vertices and a `reason`.
    names: the keypoints, in order.

  Raises:
    ValueError: names differ, or a point is not as told above; names it.
  """
  points, num_vertices = told["points"], told["num_vertices"]
  missing = [name for name in names if name not in points]
  unknown = [name for name in points if name not in names]
  if missing or unknown:
    raise ValueError(
      f"{_FILE}: points must be the {len(names)} of the vocabulary;"
      f" missing {missing}, unknown {unknown}."
    )
  rows = [_parse_point(name, points[name], num_vertices) for name in names]
  width = max(len(ids) for ids, _ in rows)
  vertices = np.zeros((len(names), width), np.int32)
  weights = np.zeros((len(names), width), np.float32)
  for row, (ids, fractions) in enumerate(rows):
    vertices[row, : len(ids)] = ids
    weights[row, : len(ids)] = fractions
  radius = np.array([points[name]["radius"] for name in names], np.float32)
  doubts = {n: points[n]["doubt"] for n in names if "doubt" in points[n]}
  return KeypointTable(num_vertices, vertices, weights, radius, doubts)


def _parse_point(
  name: str, point: dict, num_vertices: int
) -> tuple[list[int], list[float]]:
  """A point's vertices and weights, checked."""

  def fail(problem: str) -> ValueError:
    return ValueError(f"{_FILE}: {name}: {problem}.")

  if unknown := set(point) - _FIELDS:
    raise fail(f"unknown fields {sorted(unknown)}")
  radius = point.get("radius")
  if not _is_number(radius) or not 0 <= radius <= _MAX_RADIUS:
    raise fail(f"radius {radius!r}; expected metres from 0 to {_MAX_RADIUS}")
  ids = point.get("vertices")
  if ids is None:
    if not point.get("reason"):
      raise fail("has neither vertices nor a reason why not")
    return [], []
  if not ids or not all(type(i) is int and 0 <= i < num_vertices for i in ids):
    raise fail(f"vertices {ids}; expected whole numbers below {num_vertices}")
  if len(set(ids)) < len(ids):
    raise fail(f"vertices {ids} name one twice")
  weights = point.get("weights", [1 / len(ids)] * len(ids))
  if len(weights) != len(ids) or not all(
    _is_number(w) and w > 0 for w in weights
  ):
    raise fail(f"weights {weights}; expected {len(ids)} numbers above 0")
  if not math.isclose(sum(weights), 1, abs_tol=1e-6):
    raise fail(f"weights add up to {sum(weights):.6f}; expected 1")
  return ids, weights


def _is_number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


KEYPOINT_RADIUS = keypoint_table().radius
KEYPOINT_RADIUS.setflags(write=False)
