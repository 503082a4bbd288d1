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

PARTS = {
  name: number for number, name in enumerate(vocabulary.parts()["names"])
}
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
  """Where each of the 19,158 vertices is on the body.

  Attributes:
    arm: (v,) fraction of the arms, 0 to 1.
    reach: (v,) along the arm: shoulder 0, elbow 1, wrist 2; below 0 off it.
    down: (v,) down the trunk and legs: waist -1, crotch 0, knee 1, ankle 2,
      sole 3.
    neck: (v, 3) metres from the base of the neck, standard pose.
    scalp: (v,) metres above the hairline, about; less is not scalp.
    skin: (v,) uint8 body part of bare skin.
    lip: (v,) -1 lower, 1 upper, 0 no lip.
  """

  arm: np.ndarray
  reach: np.ndarray
  down: np.ndarray
  neck: np.ndarray
  scalp: np.ndarray
  skin: np.ndarray
  lip: np.ndarray


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
  return Regions(
    arm.astype(np.float32),
    reach.astype(np.float32),
    down.astype(np.float32),
    (points - _NECK_BASE).astype(np.float32),
    _measure_scalp(anatomy, points).astype(np.float32),
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
  ear = np.zeros(len(points))
  for name in ("ears/l-ear-scale-incr", "ears/r-ear-scale-incr"):
    ear += _measure_moves(anatomy, name)
  is_head = points[:, 1] > 0.63
  return np.where(
    is_head, np.minimum(above, 0.04 * (0.3 - ear / ear.max())), -1
  )


def _measure_moves(anatomy: anatomies.Anatomy, name: str) -> np.ndarray:
  """(v,) metres by which a target moves vertices."""
  target = anatomy.targets[name]
  one = slice(*anatomy.target_starts[target : target + 2])
  moves = np.zeros(len(anatomy.vertices))
  lengths = np.linalg.norm(anatomy.target_moves[one], axis=1)
  moves[anatomy.target_vertices[one]] = lengths * anatomies.MOVE_UNIT
  return moves


def _name_skin(
  points: np.ndarray,
  arm: np.ndarray,
  reach: np.ndarray,
  leg: np.ndarray,
  down: np.ndarray,
  head: np.ndarray,
) -> np.ndarray:
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
  target = anatomy.targets["faceunits/jawOpen"]
  one = slice(*anatomy.target_starts[target : target + 2])
  fall = np.zeros(len(anatomy.vertices))
  moves = anatomy.target_moves[one, 1] * anatomies.MOVE_UNIT
  fall[anatomy.target_vertices[one]] = moves
  is_lip = anatomy.lips > 0.5
  return np.where(is_lip, np.where(fall < _LOWER_LIP_MOVE, -1, 1), 0)
