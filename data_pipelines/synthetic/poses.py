"""Poses: frames of motion clips, usual stances, and all that joints allow."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.synthetic import clips as motion
from data_pipelines.synthetic import limits, skeleton
from data_pipelines.synthetic.skeleton import PLACE

_KINDS = {"clip": 0.4, "stand": 0.35, "low": 0.1, "limits": 0.15}
# Angles of one arm; drawn around them.
_ARMS = (
  {"shoulder_flex": 5, "shoulder_abduct": 12, "elbow_flex": 15},
  {"shoulder_flex": 5, "shoulder_abduct": 12, "elbow_flex": 15},
  {
    **{"shoulder_flex": -15, "shoulder_abduct": 40, "shoulder_twist": 25},
    **{"elbow_flex": 100, "forearm_twist": 40, "wrist_flex": 20},
  },
  {"shoulder_flex": 60, "shoulder_abduct": 10, "elbow_flex": 70},
  {"shoulder_flex": 30, "shoulder_abduct": 15, "elbow_flex": 100},
  {"shoulder_flex": 60, "shoulder_abduct": 110, "elbow_flex": 60},
  {"shoulder_flex": 10, "shoulder_abduct": 85, "elbow_flex": 15},
  {"shoulder_flex": 140, "shoulder_abduct": 40, "elbow_flex": 25},
  {"shoulder_flex": 85, "shoulder_abduct": 15, "elbow_flex": 15},
)
# Both legs, left and right.
_LOW = {
  "sit": ({"hip_flex": 88, "knee_flex": 85, "hip_abduct": 8},) * 2,
  "squat": ({"hip_flex": 105, "knee_flex": 125, "hip_abduct": 22},) * 2,
  "kneel": (
    {"hip_flex": 80, "knee_flex": 95, "hip_abduct": 5},
    {"hip_flex": -5, "knee_flex": 95, "ankle_flex": -35},
  ),
  "lunge": (
    {"hip_flex": 60, "knee_flex": 65, "hip_abduct": 5},
    {"hip_flex": -15, "knee_flex": 15, "ankle_flex": 15},
  ),
}
_UPRIGHT = 0.85  # Cosine of the pelvis's tilt.
_IN_SKIRT = {
  "hip_flex": (-12, 25),
  "hip_abduct": (-3, 9),
  "hip_twist": (-20, 15),
  "knee_flex": (0, 60),
}
# How far fingers curl, thumb to little: 0 straight, 1 a fist.
_GRIPS = (
  (0.15, 0.12, 0.18, 0.22, 0.28),
  (0.1, 0.05, 0.05, 0.05, 0.05),
  (0.9, 0.95, 1.0, 1.0, 1.0),
  (0.7, 0.05, 0.95, 1.0, 1.0),
  (0.8, 0.05, 0.05, 1.0, 1.0),
  (0.0, 1.0, 1.0, 1.0, 1.0),
  (0.4, 0.45, 0.5, 0.5, 0.5),
)
_CURL = {"base": 75, "middle": 95, "tip": 60}


@dataclasses.dataclass(frozen=True, eq=False)
class Pose:
  """The pose of one person."""

  angles: np.ndarray  # (len(ANGLES),) degrees, within the joints' limits
  root: np.ndarray  # (3, 3) rotation of the pelvis
  kind: str  # how it was drawn


def draw_pose(rng: np.random.Generator, clips: motion.Clips) -> Pose:
  """A pose of any kind; hands are always drawn apart."""
  kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
  lean = rng.normal(0, 3, 3)
  if kind == "clip":
    frame = rng.choice(len(clips.chances), p=clips.chances)
    angles = clips.angles[frame] + rng.normal(0, 4, len(skeleton.ANGLES))
    root = clips.roots[frame]
  elif kind == "limits":
    angles = _draw_within_limits(rng)
    root = skeleton.turn(*(2 * lean))
  else:
    angles = limits.USUAL + rng.normal(0, 5, len(skeleton.ANGLES))
    _draw_trunk(rng, angles)
    for side in skeleton.SIDES:
      _set(angles, side, _ARMS[rng.integers(len(_ARMS))], rng)
    if kind == "low":
      legs = list(_LOW.values())[rng.integers(len(_LOW))]
      legs = legs if rng.random() < 0.5 else legs[::-1]
      for side, leg in zip(skeleton.SIDES, legs):
        _set(angles, side, leg, rng)
    root = skeleton.turn(*lean)
  for side in skeleton.SIDES:
    _draw_hand(rng, angles, side)
  return Pose(limits.keep_within(angles), root, kind)


def keep_knees_together(pose: Pose) -> Pose:
  """The pose with the legs of somebody in a skirt."""
  angles = pose.angles.copy()
  for side in skeleton.SIDES:
    for name, (low, high) in _IN_SKIRT.items():
      place = PLACE[f"{side}_{name}"]
      angles[place] = np.clip(angles[place], low, high)
  root = pose.root if pose.root[1, 1] > _UPRIGHT else np.eye(3)
  return dataclasses.replace(pose, angles=angles, root=root)


def _set(
  angles: np.ndarray, side: str, wanted: dict, rng: np.random.Generator
) -> None:
  for name, angle in wanted.items():
    angles[PLACE[f"{side}_{name}"]] = angle + rng.normal(0, 12)


def _draw_trunk(rng: np.random.Generator, angles: np.ndarray) -> None:
  angles[:6] = rng.normal(0, 1, 6) * (10, 6, 10, 10, 8, 20) + limits.USUAL[:6]
  # Weight on one leg, the other a little bent.
  side = skeleton.SIDES[rng.integers(2)]
  angles[PLACE[f"{side}_hip_flex"]] += 12 * rng.random()
  angles[PLACE[f"{side}_knee_flex"]] += 25 * rng.random()


def _draw_within_limits(rng: np.random.Generator) -> np.ndarray:
  """Every joint anywhere between its limits, the usual angle likeliest."""
  size = len(skeleton.ANGLES)
  reach = rng.beta(1.2, 1.8, size)
  far = np.where(rng.random(size) < 0.5, limits.LOWEST, limits.HIGHEST)
  return limits.USUAL + reach * (far - limits.USUAL)


def _draw_hand(rng: np.random.Generator, angles: np.ndarray, side: str) -> None:
  grip = np.array(_GRIPS[rng.integers(len(_GRIPS))])
  curls = (grip + rng.normal(0, 0.06, 5)).clip(0, 1.05)
  fan = rng.normal(2, 4)
  for number, finger in enumerate(skeleton.FINGERS):
    fraction = curls[number] * (0.5 if finger == "thumb" else 1)
    for joint, bend in _CURL.items():
      angles[PLACE[f"{side}_{finger}_{joint}"]] = fraction * bend
    # Away from the middle finger; fists do not fan.
    spread = fan * (2 - number) * (1 - min(curls[number], 1))
    angles[PLACE[f"{side}_{finger}_spread"]] = spread
  angles[PLACE[f"{side}_thumb_spread"]] = rng.normal(0, 6)
  angles[PLACE[f"{side}_wrist_flex"]] = rng.normal(5, 14)
  angles[PLACE[f"{side}_wrist_abduct"]] = rng.normal(-3, 6)
  if not angles[PLACE[f"{side}_forearm_twist"]]:
    angles[PLACE[f"{side}_forearm_twist"]] = rng.normal(10, 20)
