import numpy as np

from data_pipelines import vocabulary
from sapiens2_jax.tasks.pose import keypoint_sets
from sapiens2_jax.tasks.pose.drawing import draw_keypoints

SET = keypoint_sets.make("")

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)


def test_only_keypoints_with_a_score_are_shown():
  people = np.zeros((1, 308, 3), np.float32)
  people[..., :2] = 50
  people[..., 2] = 0.29
  np.testing.assert_array_equal(draw_keypoints(IMAGE, people, SET), IMAGE)


def test_points_have_their_colours_and_are_linked():
  known = vocabulary.keypoints()
  image = IMAGE.copy()
  people = np.zeros((1, 308, 3), np.float32)
  people[0, 5] = (20, 30, 0.9)
  people[0, 6] = (120, 90, 0.9)  # linked to the one above
  picture = draw_keypoints(image, people, SET)
  assert picture[30, 20].tolist() == known["colors_rgb"][5]
  link = known["skeleton_links"].index([5, 6])
  color = known["skeleton_link_colors_rgb"][link]
  np.testing.assert_allclose(picture[60, 70], color, atol=40)  # smoothed
  np.testing.assert_array_equal(image, IMAGE)  # left as it was


def test_a_mirrored_image_can_be_drawn_on():
  mirrored = IMAGE[:, ::-1]  # not contiguous
  people = np.ones((1, 308, 3), np.float32)
  assert draw_keypoints(mirrored, people, SET).shape == IMAGE.shape
