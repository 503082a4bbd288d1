"""Labels of pixels as stored, for the photograph as EXIF turns it upright."""

from __future__ import annotations

import numpy as np

from data_pipelines.common import images
from data_pipelines.corpus.labels import MAPS, Labels, Person

STORED, UPRIGHT = "stored", "upright"
# Orientation -> quarter turns, counter-clockwise.
_QUARTERS = {1: 0, 3: 2, 6: 3, 8: 1}


def turn_labels(
  labels: Labels, orientation: int, size: tuple[int, int]
) -> Labels:
  """Turns labels as EXIF turns their photograph.

  Args:
    labels: of the pixels as stored; normals and intrinsics are of a camera
      that is held as the pixels are.
    orientation: EXIF's, 1 to 8.
    size: (height, width) of the stored pixels.

  Raises:
    ImageDecodeError: the orientation mirrors: whether left is left then,
      nobody knows.
  """
  if orientation not in _QUARTERS:
    raise images.ImageDecodeError(
      "mirrored by EXIF",
      f"orientation {orientation}: left and right of labels are not known; "
      "write the photograph upright",
    )
  quarters = _QUARTERS[orientation]
  # What becomes of (x, y): x right and y down, in pixels.
  turn = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), quarters)
  corners = np.array([[0, 0], [size[1] - 1, size[0] - 1]]) @ turn.T
  move = -corners.min(0)
  found = {}
  for name in (*MAPS, *labels.extra):
    array = labels.get(name)
    if array is not None and array.shape[:2] == size:
      array = np.ascontiguousarray(np.rot90(array, quarters))
    found[name] = array
  if labels.normal is not None:
    right, up, near = np.moveaxis(found["normal"], -1, 0)
    right, down = np.tensordot(turn, np.stack([right, -up]), 1)
    normal = np.stack([right, -down, near], -1)
    found["normal"] = normal.astype(np.float32)
  if labels.intrinsics is not None:
    found["intrinsics"] = _turn_camera(labels.intrinsics, turn, move)
  if labels.people is not None:
    found["people"] = tuple(
      _turn_person(person, turn, move) for person in labels.people
    )
  return labels.replace(**found)


def _turn_camera(
  camera: np.ndarray, turn: np.ndarray, move: np.ndarray
) -> np.ndarray:
  turned = camera.copy()
  turned[:2, :2] = turn @ camera[:2, :2] @ turn.T
  turned[:2, 2] = turn @ camera[:2, 2] + move
  return turned


def _turn_person(person: Person, turn: np.ndarray, move: np.ndarray) -> Person:
  top, left, height, width = person.box
  corners = np.array([[left, top], [left + width, top + height]])
  corners = corners @ turn.T + move
  left, top = corners.min(0)
  width, height = np.ptp(corners, axis=0)
  points = person.keypoints.copy()
  is_labelled = points[:, 2] > 0
  points[is_labelled, :2] = points[is_labelled, :2] @ turn.T + move
  box = tuple(map(float, (top, left, height, width)))
  return Person(box, points, person.area)
