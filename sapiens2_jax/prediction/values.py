"""The numbers of a prediction as files, a folder for each kind."""

import io
import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.pointmap.task import Points

# (folder, ending) -> content.
Files = dict[tuple[str, str], bytes]

_MIN_ALPHA = 1 / 255


def encode_values(task: str, prediction: Any, labels: Labels) -> Files:
  """What a program reads of a prediction.

  Args:
    task: its name; albedo, and any that is not of this project, has no file
      beside its picture.
    prediction: of `Task.postprocess`.
    labels: the boxes it was made with.
  """
  encoder = _ENCODERS.get(task)
  return encoder(prediction, labels) if encoder else {}


def to_png(pixels: UInt8[np.ndarray, "h w *c"]) -> bytes:
  """PNG file of levels, RGB or RGBA."""
  if pixels.ndim == 3:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[pixels.shape[2]]
    pixels = cv2.cvtColor(pixels, order)
  return cv2.imencode(".png", pixels)[1].tobytes()


def _keypoints(people: Float[np.ndarray, "p 308 3"], labels: Labels) -> Files:
  """As the public Sapiens2 release: a list of people, boxes x0 y0 x1 y1."""
  listed = []
  for person, keypoints in zip(labels.people, people):
    top, left, height, width = person.box
    keypoints = keypoints.astype(np.float64)
    listed.append(
      {
        "bbox": [left, top, left + width, top + height],
        "keypoints": np.round(keypoints[:, :2], 3).tolist(),
        "keypoint_scores": np.round(keypoints[:, 2], 5).tolist(),
      }
    )
  return {("keypoints", "json"): (json.dumps(listed) + "\n").encode()}


def _parts(parts: UInt8[np.ndarray, "h w"], labels: Labels) -> Files:
  del labels
  return {("parts", "png"): to_png(parts)}


def _normals(normals: Float[np.ndarray, "h w 3"], labels: Labels) -> Files:
  del labels
  return {("normals", "npy"): _to_npy(normals)}


def _points(prediction: Points, labels: Labels) -> Files:
  del labels
  points = prediction.points
  return {
    ("depth", "npy"): _to_npy(points[..., 2]),
    ("pointmaps", "npy"): _to_npy(points),
  }


def _matte(matte: Float[np.ndarray, "h w 4"], labels: Labels) -> Files:
  """Colours of PNG are not multiplied by alpha."""
  del labels
  alpha = matte[..., 3:]
  colors = np.clip(matte[..., :3] / np.maximum(alpha, _MIN_ALPHA), 0, 1)
  levels = np.rint(np.concatenate([colors, alpha], axis=-1) * 255)
  return {("mattes", "png"): to_png(levels.astype(np.uint8))}


def _to_npy(values: Float[np.ndarray, "*b"]) -> bytes:
  """float16; what it cannot hold becomes its largest number."""
  limit = np.finfo(np.float16).max
  buffer = io.BytesIO()
  np.save(buffer, np.clip(values, -limit, limit).astype(np.float16))
  return buffer.getvalue()


_ENCODERS: dict[str, Callable[[Any, Labels], Files]] = {
  "pose": _keypoints,
  "segmentation": _parts,
  "normal": _normals,
  "pointmap": _points,
  "matting": _matte,
}
