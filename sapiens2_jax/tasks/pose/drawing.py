"""Pictures of keypoints."""

import cv2
import numpy as np

from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.pose.codec import People
from sapiens2_jax.tasks.pose.keypoint_sets import KeypointSet

MIN_SCORE = 0.3  # of a keypoint that is shown. Source: the public release
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_UNIT = 500  # pixels of the image's shorter side for a pixel of a line


def draw_keypoints(
  image: Image,
  people: People,
  known: KeypointSet,
  *,
  threshold: float = MIN_SCORE,
  radius: int = 0,
  thickness: int = 0,
) -> Image:
  """Links, then points, on a copy.

  Args:
    image: of the people.
    people: their keypoints.
    known: which keypoints they are.
    threshold: keypoints that score less are not shown.
    radius: of a point in pixels; 0: by the thickness.
    thickness: of a line in pixels; 0: by the size of the image.
  """
  picture = np.ascontiguousarray(image).copy()
  thickness = thickness or max(1, round(min(image.shape[:2]) / _UNIT))
  radius = radius * 2**_SHIFT or (thickness + 1) * 2**_SHIFT // 2
  for person in people:
    shown = person[:, 2] >= threshold
    places = np.rint(person[:, :2] * 2**_SHIFT).astype(int)
    for start, end, color in known.links:
      if shown[start] and shown[end]:
        cv2.line(
          picture,
          places[start].tolist(),
          places[end].tolist(),
          color,
          thickness,
          cv2.LINE_AA,
          _SHIFT,
        )
    for place, color in zip(
      places[shown], np.array(known.colors)[shown].tolist()
    ):
      cv2.circle(
        picture, place.tolist(), radius, color, -1, cv2.LINE_AA, _SHIFT
      )
  return picture
