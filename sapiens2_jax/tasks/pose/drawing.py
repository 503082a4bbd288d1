"""Pictures of keypoints."""

import cv2
import numpy as np

from data_pipelines import vocabulary
from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.pose.codec import People

MIN_SCORE = 0.3  # of a keypoint that is shown. Source: the public release
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_UNIT = 500  # pixels of the image's shorter side for a pixel of a line


def draw_keypoints(image: Image, people: People) -> Image:
  """Links, then points, of all that score 0.3 or more, on a copy."""
  known = vocabulary.keypoints()
  picture = np.ascontiguousarray(image).copy()
  thickness = max(1, round(min(image.shape[:2]) / _UNIT))
  for person in people:
    shown = person[:, 2] >= MIN_SCORE
    places = np.rint(person[:, :2] * 2**_SHIFT).astype(int)
    for (start, end), color in zip(
      known["skeleton_links"], known["skeleton_link_colors_rgb"]
    ):
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
      places[shown], np.array(known["colors_rgb"])[shown].tolist()
    ):
      radius = (thickness + 1) * 2**_SHIFT // 2
      cv2.circle(
        picture, place.tolist(), radius, color, -1, cv2.LINE_AA, _SHIFT
      )
  return picture
