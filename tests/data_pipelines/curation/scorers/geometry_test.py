"""Boxes, pieces of images, and angles of heads."""

import numpy as np
import pytest

from data_pipelines.curation.scorers import faces, geometry, mask, person, text


@pytest.mark.parametrize("size", [(60, 100), (100, 60), (400, 31)])
def test_a_letterbox_knows_where_its_pixels_are_from(size):
  rows, cols = np.indices(size)
  image = np.stack([cols, rows, 0 * rows], axis=2) * 255 // max(size)
  piece, square = geometry.letterbox(image.astype(np.uint8), 96)
  ys, xs = np.nonzero(piece[..., 1] > 40)
  index = len(ys) // 2
  place = np.float32([[xs[index] + 0.5, ys[index] + 0.5]])
  x, y = geometry.to_image(place, square, 96)[0]
  seen = piece[ys[index], xs[index]].astype(float) * max(size) / 255
  assert [x, y] == pytest.approx(seen[:2], abs=max(size) / 40)


@pytest.mark.parametrize("box", [(20, 10, 50, 90), (40, 60, 120, 80)])
def test_the_mask_is_looked_at_where_the_box_lies(box):
  image = np.zeros((100, 140, 3), np.uint8)
  left, top, right, bottom = box
  image[top:bottom, left:right] = 255
  piece, inside = mask.cut_box(image, np.float32(box))
  assert piece.shape == (256, 256, 3)
  assert piece[inside].mean() > 240  # The box, and little of what is around.
  outside = np.ones((256, 256), bool)
  outside[inside] = False
  assert piece[outside].mean() < 5


def test_a_turned_square_is_seen_upright():
  image = np.zeros((80, 80, 3), np.uint8)
  image[38:42, 20:60] = 255  # A line across.
  square = geometry.Square((40, 40), 60, np.pi / 2)
  piece = geometry.cut(image, square, 30)
  assert piece[7:23, 14:16].max(axis=1).min() > 100  # It stands now.
  assert piece[15, 3:10].max() == 0


def test_points_go_back_to_where_they_were_cut_out():
  square = geometry.Square((40, 20), 10, 0.3)
  corner = geometry.to_image(np.float32([[100, 50, 7]]), square, 100)[0]
  expected = 40 + 5 * np.cos(0.3), 20 + 5 * np.sin(0.3), 0.7
  np.testing.assert_allclose(corner, expected, atol=1e-5)


def test_the_short_side_is_that_of_the_largest_box():
  boxes = np.float32([[0, 0, 9, 9], [0, 0, 5, 40]])
  assert geometry.short_side(boxes) == 5
  assert geometry.short_side(boxes[:0]) == 0


def test_what_others_hide_counts_once():
  box = np.float32([0, 0, 10, 10])
  boxes = np.float32([box, [5, 0, 15, 10], [5, 0, 15, 10]])
  assert mask.hidden_share(box, boxes) == pytest.approx(0.5)
  assert mask.hidden_share(box, boxes[:1]) == 0


def test_borders_that_a_box_touches_are_counted():
  assert mask.count_borders(np.float32([0, 5, 100, 50]), (50, 100)) == 3
  assert mask.count_borders(np.float32([20, 5, 80, 45]), (50, 100)) == 0


def test_a_face_grows_to_shoulders_within_the_image():
  grown = person.grow_face(np.float32([40, 10, 60, 30]), (70, 65))
  np.testing.assert_allclose(grown, [30, 0, 65, 50])


def test_columns_that_are_not_known_are_no_boxes():
  assert person.read_boxes({}).shape == (0, 4)
  assert person.read_boxes({"person_boxes": None}).shape == (0, 4)
  assert person.read_boxes({"person_boxes": [1, 2, 3, 4]}).shape == (1, 4)


def test_more_evidence_is_a_higher_score():
  scores = [person.combine((e, e, e, e)) for e in (0, 0.3, 0.6, 1)]
  assert scores == sorted(scores)
  assert scores[0] < 0.05 and scores[-1] > 0.99


def rotation(yaw, pitch, roll):
  """Roll, then pitch, then yaw, of a head that looks along -z."""
  y, p, r = np.radians([yaw, pitch, roll])
  about_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
  about_x = [[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]]
  about_y = [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]]
  return np.array(about_y) @ np.array(about_x) @ about_z


@pytest.mark.parametrize(
  "angles", [(0, 0, 0), (40, 0, 0), (0, 25, 0), (0, 0, -30), (-50, 20, 15)]
)
def test_the_angles_of_a_turned_head_come_back(angles):
  head = np.zeros((468, 3))
  for left, right in ((33, 263), (234, 454), (61, 291)):
    head[left, 0], head[right, 0] = -1, 1
  head[10], head[152] = (0, -1, 0), (0, 1, 0)
  turned = head @ rotation(*angles).T
  assert faces.head_pose(turned) == pytest.approx(angles, abs=1e-6)


def test_a_head_that_looks_right_has_a_positive_yaw():
  looks = rotation(40, 0, 0) @ [0, 0, -1]
  assert looks[0] > 0
  assert (rotation(0, 25, 0) @ [0, 0, -1])[1] < 0  # Up.
  assert (rotation(0, 0, 30) @ [1, 0, 0])[1] > 0  # Clockwise.


def test_a_line_of_text_is_found_and_grown():
  heat = np.zeros((64, 128), np.float32)
  heat[20:30, 10:90] = 0.9
  heat[50:60, 10:90] = 0.4  # Dense, but not sure.
  (corners,) = text.decode_lines(heat)
  grown = 1.6 * 80 * 10 / 90 / 2
  expected = [[10 - grown, 20 - grown], [90 + grown, 20 - grown]]
  np.testing.assert_allclose(corners[:2], expected, atol=2)
  assert text.polygon_share([corners], (64, 128)) == pytest.approx(
    (80 + 2 * grown) * (10 + 2 * grown) / 64 / 128, rel=0.15
  )


def test_repeats_and_blanks_are_no_characters():
  steps = np.full((6, 5), 0.1, np.float32)
  for step, (best, sure) in enumerate(
    [(0, 0.9), (2, 0.8), (2, 0.9), (0, 0.9), (2, 0.6), (3, 0.7)]
  ):
    steps[step, best] = sure
  assert text.decode_characters(steps) == (3, pytest.approx(0.7))
  assert text.decode_characters(steps[:1]) == (0, 0)
