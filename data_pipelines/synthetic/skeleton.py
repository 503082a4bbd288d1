"""Bones: where joint angles put them, and how they carry the mesh.

A pose is one angle in degrees for each name in `ANGLES`. All zero is standing
upright, arms hanging, palms to the thighs. Angles are anatomical: positive is
flexion, to the person's left (bend, twist of the trunk), away from the midline
(abduct), inwards (twist of limbs), and mirrored poses have mirrored values.
"""

from __future__ import annotations

import numba
import numpy as np

FINGERS = ("thumb", "index", "middle", "ring", "little")
_LIMB = (
  *("shoulder_flex", "shoulder_abduct", "shoulder_twist", "elbow_flex"),
  *("forearm_twist", "wrist_flex", "wrist_abduct", "hip_flex", "hip_abduct"),
  *("hip_twist", "knee_flex", "ankle_flex", "ankle_abduct"),
  *(
    f"{finger}_{joint}"
    for finger in FINGERS
    for joint in ("base", "spread", "middle", "tip")
  ),
)
_TRUNK = ("chest_flex", "chest_bend", "chest_twist") + (
  *("neck_flex", "neck_bend", "neck_twist"),
)
SIDES = ("left", "right")
ANGLES = _TRUNK + tuple(f"{side}_{name}" for side in SIDES for name in _LIMB)
PLACE = {name: number for number, name in enumerate(ANGLES)}

# Names of the rig; a bone's parent is before it.
_TRUNK_BONES = (
  *("root", "spine05", "spine04", "spine03", "spine02", "spine01"),
  *("neck01", "neck02", "neck03", "head"),
)
_LIMB_BONES = (
  *("clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01"),
  *("lowerarm02", "wrist", "upperleg01", "upperleg02", "lowerleg01"),
  *("lowerleg02", "foot"),
  *(f"finger{finger}-{joint}" for finger in range(1, 6) for joint in (1, 2, 3)),
)
BONES = _TRUNK_BONES + tuple(
  f"{name}.{side}" for side in "LR" for name in _LIMB_BONES
)
_PARENT = {
  "clavicle": "spine01",
  "upperleg01": "root",
  **{f"finger{finger}-1": "wrist" for finger in range(1, 6)},
}


def _parents() -> np.ndarray:
  parents = list(range(-1, len(_TRUNK_BONES) - 1))
  for side in "LR":
    for place, name in enumerate(_LIMB_BONES):
      parent = _PARENT.get(name, _LIMB_BONES[place - 1])
      if parent in _LIMB_BONES:
        parent = f"{parent}.{side}"
      parents.append(BONES.index(parent))
  return np.array(parents)


PARENTS = _parents()
_NUM_TRUNK, _NUM_LIMB = len(_TRUNK_BONES), len(_LIMB_BONES)
_NUM_ANGLES = len(_LIMB)
_DOWN = np.array([0.0, -1.0, 0.0])


@numba.njit(cache=True)
def find_joints(vertices, starts, members):
  """(bones, 3) float64: the joint each bone turns about, of this shape."""
  joints = np.zeros((len(starts) - 1, 3))
  for bone in range(len(joints)):
    for place in range(starts[bone], starts[bone + 1]):
      joints[bone] += vertices[members[place]]
    joints[bone] /= starts[bone + 1] - starts[bone]
  return joints


@numba.njit(cache=True)
def turn(x, y, z):
  """The rotation by a vector in degrees."""
  vector = np.array([x, y, z]) * (np.pi / 180)
  angle = np.sqrt((vector**2).sum())
  if angle < 1e-9:
    return np.eye(3)
  x, y, z = vector / angle
  cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
  sine, rest = np.sin(angle), 1 - np.cos(angle)
  return np.eye(3) + sine * cross + rest * (cross @ cross)


@numba.njit(cache=True)
def _lower(direction):
  """The smallest rotation that points a direction down."""
  unit = direction / np.sqrt((direction**2).sum())
  axis = np.cross(unit, _DOWN)
  sine = np.sqrt((axis**2).sum())
  if sine < 1e-9:
    return np.eye(3)
  axis *= np.arctan2(sine, unit @ _DOWN) * (180 / np.pi) / sine
  return turn(axis[0], axis[1], axis[2])


@numba.njit(cache=True)
def rotate_bones(angles, root, joints):
  """World rotations of the bones against the shape at rest.

  Args:
    angles: (len(ANGLES),) degrees.
    root: (3, 3) rotation of the pelvis.
    joints: (bones, 3) of the shape at rest.

  Returns:
    (bones, 3, 3).
  """
  rotations = np.zeros((len(joints), 3, 3))
  for bone in range(_NUM_TRUNK):
    part = min(bone / 5.0, 1.0)
    flex, bend, twist = angles[0] * part, angles[1] * part, angles[2] * part
    rotations[bone] = root @ turn(flex, twist, -bend)
    if bone > 5:
      part = 0.2 * (bone - 5) if bone < 9 else 1.0
      flex, bend, twist = angles[3] * part, angles[4] * part, angles[5] * part
      rotations[bone] = rotations[5] @ turn(flex, twist, -bend)
  for side in range(2):
    sign = 1.0 - 2.0 * side
    first = _NUM_TRUNK + side * _NUM_LIMB
    start = 6 + side * _NUM_ANGLES
    own = angles[start : start + _NUM_ANGLES]
    bones = rotations[first : first + _NUM_LIMB]
    at = joints[first : first + _NUM_LIMB]
    _rotate_arm(bones, own, at, rotations[5], sign)
    _rotate_leg(bones, own, at, rotations[0], sign)
    _rotate_fingers(bones, own, at, sign)
  return rotations


@numba.njit(cache=True)
def _rotate_arm(bones, own, at, chest, sign):
  raised = np.sqrt(own[0] ** 2 + own[1] ** 2)
  lift = 0.25 * max(raised - 40.0, 0.0) * max(own[1], 0.0) / (raised + 1.0)
  bones[0] = chest @ turn(0.0, 0.0, sign * lift)
  upper, fore = _lower(at[4] - at[2]), _lower(at[6] - at[4])
  swing = chest @ turn(-own[0], 0.0, sign * own[1])
  bones[2] = swing @ turn(0.0, -sign * own[2] * 0.4, 0.0) @ upper
  swing = swing @ turn(0.0, -sign * own[2], 0.0)
  bones[3] = swing @ upper
  # The shoulder goes half the way from the rest pose's arm.
  half = chest @ turn(-own[0] / 2, 0.0, sign * (own[1] - 45.0) / 2)
  bones[1] = half
  swing = swing @ turn(-own[3], 0.0, 0.0)
  bones[4] = swing @ turn(0.0, -sign * own[4] * 0.3, 0.0) @ fore
  bones[5] = swing @ turn(0.0, -sign * own[4] * 0.75, 0.0) @ fore
  hand = turn(0.0, -sign * own[4], 0.0) @ turn(-own[6], 0.0, -sign * own[5])
  bones[6] = swing @ hand @ fore


@numba.njit(cache=True)
def _rotate_leg(bones, own, at, pelvis, sign):
  thigh, shank = _lower(at[9] - at[7]), _lower(at[11] - at[9])
  swing = pelvis @ turn(-own[7], 0.0, sign * own[8])
  bones[7] = swing @ turn(0.0, -sign * own[9] * 0.4, 0.0) @ thigh
  swing = swing @ turn(0.0, -sign * own[9], 0.0)
  bones[8] = swing @ thigh
  swing = swing @ turn(own[10], 0.0, 0.0)
  bones[9] = swing @ shank
  bones[10] = swing @ shank
  bones[11] = swing @ turn(-own[11], 0.0, sign * own[12])


@numba.njit(cache=True)
def _rotate_fingers(bones, own, at, sign):
  """Fingers bend about the line of the knuckles, the thumb across the palm."""
  along = at[18] - at[6]
  knuckles = at[24] - at[15]
  palm = -sign * np.cross(along, knuckles)
  palm /= np.sqrt((palm**2).sum())
  knuckles /= np.sqrt((knuckles**2).sum())
  for finger in range(5):
    base = 12 + 3 * finger
    out = at[base + 2] - at[base]
    towards = palm
    if finger == 0:
      towards = 0.6 * palm + 0.8 * knuckles
    axis = np.cross(out, towards)
    axis /= np.sqrt((axis**2).sum())
    bend = 13 + 4 * finger
    spread = own[bend + 1] * palm * sign
    turned = bones[6] @ turn(spread[0], spread[1], spread[2])
    for joint in range(3):
      angle = own[bend] if joint == 0 else own[bend + joint + 1]
      step = axis * angle
      turned = turned @ turn(step[0], step[1], step[2])
      bones[base + joint] = turned


@numba.njit(cache=True)
def place_joints(rotations, joints, parents):
  """(bones, 3): where the joints go when the bones turn."""
  posed = joints.copy()
  for bone in range(1, len(joints)):
    parent = parents[bone]
    step = rotations[parent] @ (joints[bone] - joints[parent])
    posed[bone] = posed[parent] + step
  return posed


@numba.njit(cache=True)
def blend_transforms(rotations, joints, posed, starts, bones, weights):
  """(v, 3, 4) float32: the transform of each vertex of the base mesh."""
  matrices = np.empty((len(joints), 3, 4))
  for bone in range(len(joints)):
    matrices[bone, :, :3] = rotations[bone]
    matrices[bone, :, 3] = posed[bone] - rotations[bone] @ joints[bone]
  blended = np.zeros((len(starts) - 1, 3, 4), np.float32)
  for vertex in range(len(blended)):
    for place in range(starts[vertex], starts[vertex + 1]):
      matrix = matrices[bones[place]]
      weight = weights[place]
      for row in range(3):
        for column in range(4):
          blended[vertex, row, column] += weight * matrix[row, column]
  return blended


@numba.njit(cache=True)
def carry(points, corners, fractions, blended):
  """Moves points with the transforms of three vertices of the base mesh.

  Args:
    points: (n, 3) at rest.
    corners: (n, 3) vertices.
    fractions: (n, 3) of each; they add up to 1.
    blended: (v, 3, 4).

  Returns:
    (n, 3) float32.
  """
  moved = np.zeros((len(points), 3), np.float32)
  for place in range(len(points)):
    x, y, z = points[place]
    for corner in range(3):
      fraction = fractions[place, corner]
      if fraction != 0:
        matrix = blended[corners[place, corner]]
        for row in range(3):
          a = matrix[row]
          moved[place, row] += fraction * (
            a[0] * x + a[1] * y + a[2] * z + a[3]
          )
  return moved


@numba.njit(cache=True)
def carry_all(points, blended):
  """(v, 3) float32: all vertices of the base mesh, moved."""
  moved = np.empty((len(points), 3), np.float32)
  for place in range(len(points)):
    x, y, z = points[place]
    for row in range(3):
      a = blended[place, row]
      moved[place, row] = a[0] * x + a[1] * y + a[2] * z + a[3]
  return moved
