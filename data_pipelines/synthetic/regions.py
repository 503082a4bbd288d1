"""Where on the body a vertex is, in terms that clothes are cut by.

All from the standard pose and the skinning weights, so the same for every
shape; shell, skirt and skin share them, and cloth and skin can be compared.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines import vocabulary
from data_pipelines.synthetic import anatomy as anatomies
from data_pipelines.synthetic import skeleton

PARTS = {name: n for n, name in enumerate(vocabulary.parts()["names"])}
# Heights in the standard pose, metres -> how far down: waist -1, crotch 0,
# knee 1, ankle 2, sole 3.
_HEIGHTS = (-0.82, -0.745, -0.369, -0.045, 0.16, 0.57)
_DOWN = (3.0, 2.0, 1.0, 0.0, -1.0, -3.0)
_NECK_BASE = np.array([0.0, 0.575, 0.02])
# The hairline in profile, nape to forehead: (forward, height) metres.
_HAIRLINE = (
  (-0.05, 0.0, 0.025, 0.085, 0.1, 0.135),
  (0.645, 0.68, 0.735, 0.745, 0.768, 0.797),
)
_LOWER_LIP_MOVE = -0.010  # Metres down, when the jaw opens.


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
  """Where each of the 19,158 vertices is on the body."""

  arm: np.ndarray  # (v,) fraction of the arms, 0 to 1
  reach: np.ndarray  # (v,) shoulder 0, elbow 1, wrist 2; below 0 off the arm
  down: np.ndarray  # (v,) waist -1, crotch 0, knee 1, ankle 2, sole 3
  neck: np.ndarray  # (v, 3) metres from the base of the neck, standard pose
  scalp: np.ndarray  # (v,) metres above the hairline, about; less is not scalp
  skin: np.ndarray  # (v,) uint8 body part of bare skin
  lip: np.ndarray  # (v,) -1 lower, 1 upper, 0 no lip


def find_regions(anatomy: anatomies.Anatomy) -> Regions:
  """Measures the standard body."""
  points = anatomy.vertices.astype(np.float64)
  joints = skeleton.find_joints(
    anatomy.vertices, anatomy.head_starts, anatomy.head_vertices
  )
  arm = _fraction(anatomy, ("upperarm", "lowerarm", "wrist", "finger"))
  along = _measure_arm(points, joints)
  reach = arm * np.maximum(along, 0) + (arm - 1) * 0.5
  down = np.interp(points[:, 1], _HEIGHTS, _DOWN)
  head = _fraction(anatomy, ("neck", "head"))
  leg = _fraction(anatomy, ("upperleg", "lowerleg", "foot"))
  scalp = _measure_scalp(anatomy, points)
  measured = arm, reach, down, points - _NECK_BASE, scalp
  return Regions(
    *(values.astype(np.float32) for values in measured),
    _name_skin(points, arm, reach, leg, down, head),
    _find_lips(anatomy),
  )


def _fraction(anatomy: anatomies.Anatomy, bones: tuple[str, ...]) -> np.ndarray:
  """(v,) of the weights that belong to the named bones."""
  wanted = np.array([bone.startswith(bones) for bone in skeleton.BONES])
  weights = anatomy.weights * wanted[anatomy.weight_bones]
  return np.add.reduceat(weights, anatomy.weight_starts[:-1])


def _measure_arm(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
  """(v,) place along shoulder, elbow, wrist of the arm on the same side."""
  names = ("upperarm01.L", "lowerarm01.L", "wrist.L")
  chain = [joints[skeleton.BONES.index(name)] for name in names]
  own = points.copy()
  own[:, 0] = np.abs(points[:, 0])
  upper, fore = chain[1] - chain[0], chain[2] - chain[1]
  first = (own - chain[0]) @ upper / (upper @ upper)
  second = (own - chain[1]) @ fore / (fore @ fore)
  return np.where(second > 0, 1 + second, np.minimum(first, 1))


def _measure_scalp(
  anatomy: anatomies.Anatomy, points: np.ndarray
) -> np.ndarray:
  above = points[:, 1] - np.interp(points[:, 2], *_HAIRLINE)
  ear = 0
  for name in ("ears/l-ear-scale-incr", "ears/r-ear-scale-incr"):
    moves = _find_moves(anatomy, name)
    ear = ear + np.linalg.norm(moves, axis=1) * anatomies.MOVE_UNIT
  around = np.minimum(above, 0.04 * (0.3 - ear / ear.max()))
  return np.where(points[:, 1] > 0.63, around, -1)


def _find_moves(anatomy: anatomies.Anatomy, name: str) -> np.ndarray:
  """(v, 3) by which a target moves vertices, in `anatomies.MOVE_UNIT`."""
  target = anatomy.targets[name]
  one = slice(*anatomy.target_starts[target : target + 2])
  moves = np.zeros(anatomy.vertices.shape)
  moves[anatomy.target_vertices[one]] = anatomy.target_moves[one]
  return moves


def _name_skin(points, arm, reach, leg, down, head) -> np.ndarray:
  """(v,) uint8 body parts; of all that `find_regions` measures."""
  names = np.full(len(points), "Torso", dtype="<U16")
  sides = np.where(points[:, 0] > 0, "Left_", "Right_")
  for fraction, place, limbs in (
    (arm, reach, ("Upper_Arm", "Lower_Arm", "Hand")),
    (leg, down, ("Upper_Leg", "Lower_Leg", "Foot")),
  ):
    for number, limb in enumerate(limbs):
      is_here = (fraction > 0.5) & (place >= number)
      names[is_here] = np.char.add(sides[is_here], limb)
  names[leg * (down < 0) > 0.5] = "Torso"
  names[(head > 0.5) | (points[:, 1] > 0.6)] = "Face_Neck"
  return np.array([PARTS[name] for name in names], np.uint8)


def _find_lips(anatomy: anatomies.Anatomy) -> np.ndarray:
  fall = _find_moves(anatomy, "faceunits/jawOpen")[:, 1] * anatomies.MOVE_UNIT
  lip = np.where(fall < _LOWER_LIP_MOVE, -1, 1)
  return np.where(anatomy.lips > 0.5, lip, 0)
