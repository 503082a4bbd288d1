"""Which hashes count as edits, and which pairs as merged."""

import numpy as np

from data_pipelines.curation.photographs import labels, near


def flip(bits):
  made = np.zeros(32, np.uint8)
  for bit in bits:
    made[bit // 8] |= 1 << bit % 8
  return made


def test_a_band_is_shared_or_not():
  one = np.zeros(32, np.uint8)
  others = np.array(
    [flip([0]), flip(range(0, 256, 32)), flip(range(0, 224, 32))]
  )
  assert near.share_band(others, one).tolist() == [True, False, True]


def test_merges_are_near_pairs_of_images_with_enough_to_see():
  found = np.array([flip([]), flip(range(31)), flip(range(32)), flip([1])])
  qualities = np.array([90, 60, 50, 49])
  # The third is 1 bit from the second; the fourth is not compared.
  assert near.find_merges(found, qualities, 31) == [(0, 1), (1, 2)]
  assert near.find_merges(found, qualities, 0) == []


def test_edits_are_of_one_portrait_that_is_none_of_them():
  edits = near.read_edits()
  assert sum(edit.kind == near.ORIGINAL for edit in edits) == 1
  assert len({edit.sha256 for edit in edits}) == len(edits) > 35
  kinds = {edit.kind for edit in edits}
  assert {"resized", "letterbox", "turned", "large watermark"} <= kinds
  known = {image.sha256 for image in labels.read_labels()}
  assert not known & {e.sha256 for e in edits if e.kind != near.ORIGINAL}
