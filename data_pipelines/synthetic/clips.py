"""Recorded human motion as joint angles: the DeepMimic clips (1804.02717)."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np

from data_pipelines.synthetic import limits, skeleton

_WIDTH = 44  # Duration, place, then rotations as below.
_BALL = {  # Where the quaternions (w, x, y, z) begin.
  "root": 4,
  "chest": 8,
  "neck": 12,
  "right_hip": 16,
  "right_ankle": 21,
  "right_shoulder": 25,
  "left_hip": 30,
  "left_ankle": 35,
  "left_shoulder": 39,
}
_HINGE = {
  "right_knee_flex": (20, -1),
  "right_elbow_flex": (29, 1),
  "left_knee_flex": (34, -1),
  "left_elbow_flex": (43, 1),
}
# Theirs: x forward, y up, z right. Ours: x left, y up, z forward.
_AXES = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])


@dataclasses.dataclass(frozen=True, eq=False)
class Clips:
  """Poses of all clips; n of them."""

  angles: np.ndarray  # (n, len(ANGLES)) degrees, within limits; hands at 0
  roots: np.ndarray  # (n, 3, 3) rotations of the pelvis, its heading taken out
  chances: np.ndarray  # (n,) of being drawn; every clip has the same


def read_clips(directory: pathlib.Path) -> Clips:
  """Reads all clips of a directory.

  Raises:
    ValueError: there is none, or a frame has not 44 values.
  """
  clips = [_read(path) for path in sorted(directory.glob("humanoid3d_*.txt"))]
  if not clips:
    raise ValueError(f"{directory}: no humanoid3d_*.txt in it.")
  fractions = [np.full(len(clip), 1 / len(clip) / len(clips)) for clip in clips]
  frames = np.concatenate(clips)
  angles = np.zeros((len(frames), len(skeleton.ANGLES)))
  for name, (column, sign) in _HINGE.items():
    angles[:, skeleton.PLACE[name]] = np.degrees(sign * frames[:, column])
  for name, column in _BALL.items():
    flex, twist, bend = _swing_and_twist(frames[:, column : column + 4]).T
    match name.partition("_"):
      case ("root", _, _):
        continue
      case ("chest" | "neck", _, _):
        values = {"flex": flex, "bend": -bend, "twist": twist}
      case (side, _, joint):
        sign = 1 if side == "left" else -1
        values = {"flex": -flex, "abduct": sign * bend, "twist": -sign * twist}
        if joint == "ankle":
          del values["twist"]
    for part, value in values.items():
      angles[:, skeleton.PLACE[f"{name}_{part}"]] = value
  return Clips(
    limits.keep_within(angles),
    _roots(frames[:, _BALL["root"] :][:, :4]),
    np.concatenate(fractions),
  )


def _read(path: pathlib.Path) -> np.ndarray:
  frames = json.loads(path.read_text(encoding="utf-8"))["Frames"]
  if {len(frame) for frame in frames} != {_WIDTH}:
    raise ValueError(f"{path}: every frame must have {_WIDTH} values.")
  return np.array(frames)


def _roots(quaternions: np.ndarray) -> np.ndarray:
  """(n, 4) in their axes -> (n, 3, 3) in ours, without heading."""
  w, vector = quaternions[:, :1], quaternions[:, 1:] @ _AXES.T
  length = np.sqrt(w**2 + (vector**2).sum(1, keepdims=True))
  w, (x, y, z) = (w / length)[:, 0], (vector / length).T
  rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
  ]
  roots = np.moveaxis(np.array(rows), 2, 0)
  heading = np.arctan2(
    roots[:, 0, 2] - roots[:, 2, 0], roots[:, 0, 0] + roots[:, 2, 2]
  )
  cosine, sine, zero = np.cos(heading), np.sin(heading), np.zeros(len(heading))
  back = np.array(
    [[cosine, zero, -sine], [zero, zero + 1, zero], [sine, zero, cosine]]
  )
  return np.moveaxis(back, 2, 0) @ roots


def _swing_and_twist(quaternions: np.ndarray) -> np.ndarray:
  """Splits rotations into a swing without and a twist about the y axis.

  Returns:
    (n, 3) degrees: about x, of the twist (applied first) about y, about z.
  """
  w, vector = quaternions[:, 0], quaternions[:, 1:] @ _AXES.T
  twist = 2 * np.arctan2(vector[:, 1], w)
  twist = (twist + np.pi) % (2 * np.pi) - np.pi
  # What is left after taking the twist out turns about an axis in x, z.
  cosine, sine = np.cos(twist / 2), np.sin(twist / 2)
  swing_w = w * cosine + vector[:, 1] * sine
  swing_x = vector[:, 0] * cosine + vector[:, 2] * sine
  swing_z = vector[:, 2] * cosine - vector[:, 0] * sine
  swing = np.stack([swing_x, swing_z], 1) * np.sign(swing_w + 1e-12)[:, None]
  length = np.linalg.norm(swing, axis=1)
  angle = 2 * np.arctan2(length, np.abs(swing_w))
  swing *= (angle / np.maximum(length, 1e-9))[:, None]
  return np.degrees(np.stack([swing[:, 0], twist, swing[:, 1]], 1))
