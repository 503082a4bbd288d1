"""Keeps limbs out of the body: a check on bones, not on triangles."""

from __future__ import annotations

import numba
import numpy as np

from data_pipelines.synthetic import limits, poses, skeleton

_STEP = 8.0  # Degrees a limb is moved out at a time.
_TRIES = 8
_FLESH = 0.045  # Metres of arm and hand around their bones.
_THIGH = 0.075  # Likewise of the thigh.
_SPINE, _NECK, _HEAD = map(skeleton.BONES.index, ("spine01", "neck01", "head"))


def _find_angles(*names: str) -> np.ndarray:
  """(2, n) indices into `ANGLES`, left and right."""
  sides = skeleton.SIDES
  return np.array([[skeleton.PLACE[f"{s}_{n}"] for n in names] for s in sides])


def _find_bones(*names: str) -> np.ndarray:
  """(2, n) indices into `BONES`, left and right."""
  return np.array(
    [[skeleton.BONES.index(f"{n}.{side}") for n in names] for side in "LR"]
  )


_ARMS = _find_angles("shoulder_abduct", "shoulder_twist", "elbow_flex")
_HIPS = _find_angles("hip_abduct")[:, 0]
_ARM_CHAINS = _find_bones("lowerarm01", "wrist", "finger3-3")
_LEG_CHAINS = _find_bones("upperleg01", "lowerleg01", "foot")


def resolve(
  pose: poses.Pose, joints: np.ndarray, width: float, depth: float
) -> tuple[np.ndarray, np.ndarray]:
  """Moves arms and legs out until they are clear of trunk and each other.

  Args:
    pose: what was drawn.
    joints: (bones, 3) of the shape at rest.
    width: half the trunk's, metres.
    depth: likewise.

  Returns:
    (len(ANGLES),) angles within the limits, (bones, 3, 3) rotations.
  """
  angles = pose.angles.copy()
  for _ in range(_TRIES):
    rotations = skeleton.rotate_bones(angles, pose.root, joints)
    posed = skeleton.place_joints(rotations, joints, skeleton.PARENTS)
    left, right, legs = _find_contact(posed, rotations, width, depth)
    if not (left or right or legs):
      return angles, rotations
    for is_in, (abduct, twist, elbow) in zip((left, right), _ARMS):
      if is_in:
        angles[abduct] += _STEP
        angles[twist] -= _STEP
        angles[elbow] -= _STEP
    if legs:
      angles[_HIPS] += _STEP / 2
    angles = limits.keep_within(angles)
  return angles, skeleton.rotate_bones(angles, pose.root, joints)


@numba.njit(cache=True)
def _find_contact(posed, rotations, width, depth):
  """Whether left arm, right arm and legs touch another part of the body."""
  found = np.zeros(3, np.bool_)
  for side in range(2):
    elbow, wrist, finger = _ARM_CHAINS[side]
    for step in range(9):
      # From mid forearm to the fingertips.
      if step < 4:
        fraction = 0.4 + 0.2 * step
        point = posed[elbow] + fraction * (posed[wrist] - posed[elbow])
      else:
        fraction = 0.3 * (step - 4)
        point = posed[wrist] + fraction * (posed[finger] - posed[wrist])
      if _is_in_trunk(point, posed, rotations, width, depth):
        found[side] = True
      head = posed[_HEAD] + rotations[_HEAD] @ np.array([0.0, 0.08, 0.03])
      if ((point - head) ** 2).sum() < (0.105 + _FLESH) ** 2:
        found[side] = True
      for leg in range(2):
        hip, knee, _ = _LEG_CHAINS[leg]
        if _distance(point, posed[hip], posed[knee]) < _THIGH + _FLESH:
          found[side] = True
  for step in range(1, 6):
    fraction = step / 5.0
    for one in range(2):
      hip, knee, ankle = _LEG_CHAINS[one]
      other, bend, foot = _LEG_CHAINS[1 - one]
      upper = posed[hip] + fraction * (posed[knee] - posed[hip])
      lower = posed[knee] + fraction * (posed[ankle] - posed[knee])
      if _distance(upper, posed[other], posed[bend]) < 1.2 * _THIGH:
        found[2] = True
      if _distance(lower, posed[bend], posed[foot]) < _THIGH:
        found[2] = True
  return found


@numba.njit(cache=True)
def _is_in_trunk(point, posed, rotations, width, depth):
  low, high = posed[0], posed[_NECK]
  axis = high - low
  fraction = ((point - low) @ axis) / (axis @ axis)
  if fraction < -0.15 or fraction > 1.0:
    return False
  bone = 0 if fraction < 0.4 else _SPINE
  off = rotations[bone].T @ (point - low - fraction * axis)
  across = off[0] / (width + _FLESH)
  deep = off[2] / (depth + _FLESH)
  return across**2 + deep**2 < 1.0


@numba.njit(cache=True)
def _distance(point, start, end):
  """From a point to a line segment."""
  axis = end - start
  fraction = ((point - start) @ axis) / (axis @ axis)
  fraction = min(max(fraction, 0.0), 1.0)
  return np.sqrt(((point - start - fraction * axis) ** 2).sum())
