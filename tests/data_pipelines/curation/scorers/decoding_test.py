"""What detectors put out, made into boxes."""

import numpy as np
import pytest

from data_pipelines.curation.scorers import decoding, geometry


def test_a_peak_becomes_one_box_in_pixels_of_the_image():
  heatmap = np.zeros((128, 128, 80), np.float32)
  heatmap[50, 20:22, 0] = 0.9, 0.8  # A peak and its slope.
  heatmap[10, 10, 1] = 1  # Not a person.
  extents = np.zeros((128, 128, 4), np.float32)
  extents[50, 20] = 8, 16, 24, 32
  boxes, scores = decoding.decode_centernet(
    heatmap, extents, (256, 1024), min_score=0.5
  )
  assert scores == pytest.approx([0.9])
  # (80 - 8, 200 - 16, 80 + 24, 200 + 32), twice as wide and half as high.
  np.testing.assert_allclose(boxes, [[144, 92, 208, 116]])


def test_a_box_ends_at_the_border():
  heatmap = np.zeros((128, 128, 80), np.float32)
  heatmap[0, 0, 0] = 0.9
  extents = np.full((128, 128, 4), 999, np.float32)
  boxes, _ = decoding.decode_centernet(heatmap, extents, (30, 20), 0.5)
  np.testing.assert_array_equal(boxes, [[0, 0, 20, 30]])


def test_distances_are_the_means_of_their_bins():
  layers = [np.full((n, n, 124), -50, np.float32) for n in (52, 26, 13)]
  cell = layers[1][3, 5]
  cell[0] = 2
  for side, bin in enumerate((1, 2, 3, 10)):
    cell[80 + side * 11 + bin] = 50
  boxes, scores = decoding.decode_nanodet(layers, (416, 832), 0.5)
  assert scores == pytest.approx([1 / (1 + np.exp(-2))])
  # The middle is (88, 56), cells are of 16 pixels; twice as wide.
  expected = [[(88 - 16) * 2, 56 - 32, (88 + 48) * 2, 56 + 160]]
  np.testing.assert_allclose(boxes, expected, atol=1e-3)


def test_nobody_gives_no_boxes():
  layers = [np.full((n, n, 124), -50, np.float32) for n in (52, 26, 13)]
  boxes, scores = decoding.decode_nanodet(layers, (416, 832), 0.5)
  assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_anchors_are_middles_of_cells_row_by_row():
  anchors = decoding.make_anchors(8, ((4, 1), (8, 2)))
  expected = [[2, 2], [6, 2], [2, 6], [6, 6], [4, 4], [4, 4]]
  np.testing.assert_array_equal(anchors, expected)


def test_anchors_are_as_many_as_the_models_put_out():
  assert len(decoding.make_anchors(192, ((4, 1),))) == 2304
  layers = ((8, 2), (16, 2), (32, 6))
  assert len(decoding.make_anchors(224, layers)) == 2254


@pytest.mark.parametrize("num_points", [0, 4])
def test_offsets_count_from_the_anchor(num_points):
  anchors = np.float32([[10, 20], [50, 60], [51, 60]])
  raw = np.zeros((3, 4 + 2 * num_points), np.float32)
  raw[:, :4] = 1, 2, 8, 4
  raw[:, 4:] = 3
  logits = np.float32([-9, 1, 2])  # The second lies under the third.
  boxes, points, scores = decoding.decode_anchors(raw, logits, anchors, 0.5)
  np.testing.assert_allclose(boxes, [[48, 60, 56, 64]])
  assert points.shape == (1, num_points, 2)
  np.testing.assert_allclose(
    points, np.float32([54, 63]) * np.ones_like(points)
  )
  assert scores == pytest.approx([1 / (1 + np.exp(-2))])
  none = decoding.decode_anchors(raw, logits - 99, anchors, 0.5)
  assert [len(part) for part in none] == [0, 0, 0]


def test_the_worse_of_two_boxes_of_one_thing_goes():
  boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
  scores = np.float32([0.5, 0.9, 0.5])
  assert geometry.suppress(boxes, scores, 0.5) == [1, 2]
  assert geometry.suppress(boxes, scores, 0.95) == [1, 0, 2]
