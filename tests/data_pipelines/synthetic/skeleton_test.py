import numpy as np
import pytest

from data_pipelines.synthetic import skeleton


@pytest.fixture(scope="module")
def joints(anatomy):
  return skeleton.find_joints(
    anatomy.vertices, anatomy.head_starts, anatomy.head_vertices
  )


def _place(joints, **angles):
  values = np.zeros(len(skeleton.ANGLES))
  for name, angle in angles.items():
    values[skeleton.ANGLES.index(name)] = angle
  rotations = skeleton.rotate_bones(values, np.eye(3), joints)
  placed = skeleton.place_joints(rotations, joints, skeleton.PARENTS)
  return dict(zip(skeleton.BONES, placed)), rotations


def test_without_rotation_the_rest_mesh_comes_back(anatomy, joints):
  still = np.tile(np.eye(3), (len(skeleton.BONES), 1, 1))
  posed = skeleton.place_joints(still, joints, skeleton.PARENTS)
  np.testing.assert_allclose(posed, joints, atol=1e-9)
  blended = skeleton.blend_transforms(
    still,
    joints,
    posed,
    anatomy.weight_starts,
    anatomy.weight_bones,
    anatomy.weights,
  )
  moved = skeleton.carry_all(anatomy.vertices, blended)
  np.testing.assert_allclose(moved, anatomy.vertices, atol=2e-6)


def test_at_zero_arms_and_legs_hang_straight_down(joints):
  at, _ = _place(joints)
  for upper, lower in (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist")):
    bone = at[f"{lower}.L"] - at[f"{upper}.L"]
    assert bone[1] < -0.999 * np.linalg.norm(bone)
  shank = at["foot.R"] - at["lowerleg01.R"]
  assert shank[1] < -0.999 * np.linalg.norm(shank)


@pytest.mark.parametrize(
  "angle, bone, axis, sign",
  [
    ("left_elbow_flex", "wrist.L", 2, 1),
    ("left_shoulder_flex", "lowerarm01.L", 2, 1),
    ("left_shoulder_abduct", "lowerarm01.L", 0, 1),
    ("right_shoulder_abduct", "lowerarm01.R", 0, -1),
    ("left_wrist_flex", "finger3-1.L", 0, -1),
    ("right_wrist_flex", "finger3-1.R", 0, 1),
    ("left_wrist_abduct", "finger3-1.L", 2, 1),
    ("left_index_base", "finger2-3.L", 0, -1),
    ("right_index_base", "finger2-3.R", 0, 1),
    ("left_hip_flex", "lowerleg01.L", 2, 1),
    ("right_hip_abduct", "lowerleg01.R", 0, -1),
    ("left_knee_flex", "foot.L", 2, -1),
    ("chest_flex", "head", 2, 1),
    ("chest_bend", "head", 0, 1),
  ],
)
def test_angles_turn_the_way_their_names_say(joints, angle, bone, axis, sign):
  before, _ = _place(joints)
  after, _ = _place(joints, **{angle: 40})
  assert sign * (after[bone] - before[bone])[axis] > 0.01


def test_a_twist_turns_the_face_to_the_left(joints):
  _, rotations = _place(joints, neck_twist=50)
  ahead = rotations[skeleton.BONES.index("head")] @ (0, 0, 1)
  assert ahead[0] > 0.5


def test_a_mirrored_pose_has_mirrored_values(joints):
  rng = np.random.default_rng(0)
  angles = rng.normal(0, 20, len(skeleton.ANGLES))
  half = (len(angles) - 6) // 2
  mirrored = angles.copy()
  mirrored[[1, 2, 4, 5]] *= -1
  mirrored[6:] = np.roll(angles[6:], half)
  symmetric = joints.copy()
  left = [n for n, name in enumerate(skeleton.BONES) if name.endswith(".L")]
  right = [n for n, name in enumerate(skeleton.BONES) if name.endswith(".R")]
  symmetric[right] = symmetric[left] * (-1, 1, 1)
  symmetric[:10, 0] = 0
  one, other = [
    skeleton.place_joints(
      skeleton.rotate_bones(values, np.eye(3), symmetric),
      symmetric,
      skeleton.PARENTS,
    )
    for values in (angles, mirrored)
  ]
  swapped = one.copy()
  swapped[left], swapped[right] = one[right], one[left]
  np.testing.assert_allclose(other, swapped * (-1, 1, 1), atol=1e-9)


def test_points_move_with_the_vertices_they_lie_between():
  blended = np.zeros((2, 3, 4), np.float32)
  blended[:, :, :3] = np.eye(3)
  blended[1, 0, 3] = 4
  moved = skeleton.carry(
    np.float32([[1, 2, 3]]),
    np.array([[0, 1, 0]]),
    np.float32([[0.75, 0.25, 0]]),
    blended,
  )
  np.testing.assert_allclose(moved, [[2, 2, 3]])
