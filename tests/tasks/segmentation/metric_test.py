import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.segmentation.metric import SegmentationMetric

PAIRS = ((2, 7), (5, 3))


def mean_iou_of_joined(images):
  """As of labels that never told left from right."""
  side = {right: left for left, right in PAIRS}
  fractions = []
  for c in set(range(29)) - set(side):
    overlap = union = 0
    for prediction, parts in images:
      found = [
        np.vectorize(lambda x: side.get(x, x))(x) == c
        for x in (prediction, parts)
      ]
      a, b = (x & (parts != 255) for x in found)
      overlap, union = overlap + (a & b).sum(), union + (a | b).sum()
    if union:
      fractions.append(overlap / union)
  return 100 * np.mean(fractions)


def count_slowly(images):
  """Class by class, as the definitions say."""
  right = total = 0
  overlap, union, true = np.zeros((3, 29))
  for prediction, parts in images:
    known = parts != 255
    right += (prediction == parts)[known].sum()
    total += known.sum()
    for c in range(29):
      a, b = (prediction == c) & known, (parts == c) & known
      overlap[c] += (a & b).sum()
      union[c] += (a | b).sum()
      true[c] += b.sum()
  with np.errstate(invalid="ignore"):
    iou, accuracy = overlap / union, overlap / true
  return {
    "aAcc": 100 * right / total,
    "mIoU": 100 * np.nan_to_num(iou).mean(),
    "mAcc": 100 * np.nan_to_num(accuracy).mean(),
    "mIoU_present": 100 * np.nanmean(iou),
    "mIoU_joined": mean_iou_of_joined(images),
  }


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_numbers_follow_their_definitions(seed, num_images):
  rng = np.random.default_rng(seed)
  num_classes = rng.integers(1, 30)
  metric, images = SegmentationMetric(29, PAIRS), []
  for _ in range(num_images):
    prediction, parts = rng.integers(0, num_classes, (2, 7, 5), np.uint8)
    parts[rng.random(parts.shape) < 0.2] = 255
    parts[0, 0] = 0
    images.append((prediction, parts))
    metric.add(prediction, Labels(parts=parts))
  assert metric.result() == pytest.approx(count_slowly(images))


def test_unknown_pixels_count_for_nothing():
  metric = SegmentationMetric(29)
  unknown = Labels(parts=np.full((4, 3), 255, np.uint8))
  metric.add(np.zeros((4, 3), np.uint8), unknown)
  assert not metric.confusion.any()
  assert all(np.isnan(value) for value in metric.result().values())


def test_errors_name_what_is_wrong():
  metric = SegmentationMetric(29)
  good = np.zeros((4, 3), np.uint8)
  with pytest.raises(ValueError, match="labels have no parts"):
    metric.add(good, Labels())
  with pytest.raises(ValueError, match=r"is \(3, 4\), expected \(4, 3\)"):
    metric.add(good.T, Labels(parts=good))
  with pytest.raises(ValueError, match="labels hold class 29"):
    metric.add(good, Labels(parts=good + np.uint8(29)))
  with pytest.raises(ValueError, match="prediction hold class 255"):
    metric.add(good + np.uint8(255), Labels(parts=good))
