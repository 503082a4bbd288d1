import json

import numpy as np
import pytest

from data_pipelines.synthetic import clips as motion
from data_pipelines.synthetic import contact, limits, poses, skeleton


@pytest.fixture(scope="module")
def clips(files):
  return motion.read_clips(files.motions)


def _is_within(angles):
  return (angles >= limits.LOWEST - 1e-9).all() and (
    angles <= limits.HIGHEST + 1e-9
  ).all()


def test_drawn_poses_keep_to_the_joints_limits(clips):
  kinds = set()
  for seed in range(200):
    pose = poses.draw_pose(np.random.default_rng(seed), clips)
    assert _is_within(pose.angles)
    np.testing.assert_allclose(pose.root @ pose.root.T, np.eye(3), atol=1e-5)
    kinds.add(pose.kind)
  assert kinds == {"clip", "stand", "low", "limits"}


def test_the_usual_angles_are_within_the_limits():
  assert (limits.LOWEST < limits.USUAL + 1e-9).all()
  assert (limits.USUAL < limits.HIGHEST).all()


def test_clips_move_within_the_limits_and_face_ahead(clips):
  assert _is_within(clips.angles)
  assert clips.chances.sum() == pytest.approx(1)
  heading = clips.roots[:, 0, 2] - clips.roots[:, 2, 0]
  np.testing.assert_allclose(heading, 0, atol=1e-5)


def test_a_bent_knee_of_a_clip_is_a_bent_knee_of_ours(tmp_path):
  frame = np.zeros(44)
  frame[[4, 8, 12, 16, 21, 25, 30, 35, 39]] = 1  # No rotation.
  frame[20] = -1.0
  frame[30:34] = np.cos(0.25), 0, 0, np.sin(0.25)  # About their z, the right.
  path = tmp_path / "humanoid3d_one.txt"
  path.write_text(json.dumps({"Frames": [frame.tolist()]}))
  clips = motion.read_clips(tmp_path)
  angles = dict(zip(skeleton.ANGLES, clips.angles[0]))
  moved = {name: angle for name, angle in angles.items() if abs(angle) > 1e-6}
  assert moved == {
    "right_knee_flex": pytest.approx(np.degrees(1)),
    "left_hip_flex": pytest.approx(np.degrees(0.5)),
  }


def test_a_directory_without_clips_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="no humanoid3d_"):
    motion.read_clips(tmp_path)


def test_a_frame_of_another_length_is_an_error_that_names_the_file(tmp_path):
  path = tmp_path / "humanoid3d_bad.txt"
  path.write_text(json.dumps({"Frames": [[0.0] * 43]}))
  with pytest.raises(ValueError, match="bad.txt: every frame must have 44"):
    motion.read_clips(tmp_path)


def test_swings_of_the_shoulder_stop_short_of_straight_up():
  angles = np.zeros(len(skeleton.ANGLES))
  flex = skeleton.ANGLES.index("left_shoulder_flex")
  angles[[flex, flex + 1]] = 165, 150
  kept = limits.keep_within(angles)
  assert np.hypot(*kept[[flex, flex + 1]]) == pytest.approx(165)


def test_a_hand_in_the_belly_is_moved_out(anatomy):
  joints = skeleton.find_joints(
    anatomy.vertices, anatomy.head_starts, anatomy.head_vertices
  )
  angles = limits.USUAL.copy()
  abduct = skeleton.ANGLES.index("left_shoulder_abduct")
  angles[abduct - 1 : abduct + 3] = 0, -20, 0, 15
  pose = poses.Pose(angles, np.eye(3), "stand")
  resolved, _ = contact.resolve(pose, joints, 0.15, 0.11)
  assert resolved[abduct] > -15
  assert _is_within(resolved)
  hanging = poses.Pose(limits.USUAL.copy(), np.eye(3), "stand")
  resolved, _ = contact.resolve(hanging, joints, 0.12, 0.09)
  np.testing.assert_array_equal(resolved, limits.USUAL)


def test_knees_stay_together_in_a_skirt(clips):
  for seed in range(30):
    pose = poses.draw_pose(np.random.default_rng(seed), clips)
    calm = poses.keep_knees_together(pose)
    place = skeleton.ANGLES.index("left_hip_flex")
    assert calm.angles[place] <= 25
    assert _is_within(calm.angles)
