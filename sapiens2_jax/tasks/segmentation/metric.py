"""How good predicted body parts are."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int64, UInt8

from data_pipelines.corpus.labels import IGNORE, Labels


def class_ious(
  confusion: Int64[np.ndarray, "c c"],
) -> Float[np.ndarray, "c"]:
  """Intersection over union of each class; NaN: it is nowhere.

  Args:
    confusion: see `SegmentationMetric`.
  """
  right = np.diag(confusion)
  union = confusion.sum(0) + confusion.sum(1) - right
  return np.where(union > 0, right / np.maximum(union, 1), np.nan)


class SegmentationMetric:
  """Pixel accuracy, intersection over union and accuracy of classes.

  Percent, over all pixels of the set that are known.

  Args:
    num_classes: of labels and predictions.
    pairs: left and right of the same, one class each.

  Attributes:
    confusion: (classes, classes) pixels, by true and by predicted class.

  Source: the public Sapiens2 release; `mIoU_present`, `mIoU_joined`: ours.
  """

  def __init__(self, num_classes: int, pairs: Iterable[tuple[int, int]] = ()):
    self._num_classes = num_classes
    self._joined = np.arange(num_classes)
    for left, right in pairs:
      self._joined[right] = left
    self.confusion = np.zeros((self._num_classes,) * 2, np.int64)

  def add(self, prediction: UInt8[np.ndarray, "h w"], labels: Labels) -> None:
    """Takes in one image.

    Raises:
      ValueError: parts missing, of another size, or no class in either.
    """
    if labels.parts is None:
      raise ValueError("segmentation metric: labels have no parts.")
    if prediction.shape != labels.parts.shape:
      raise ValueError(
        f"segmentation metric: prediction is {prediction.shape}, expected "
        f"{labels.parts.shape}, the size of the labels."
      )
    known = labels.parts != IGNORE
    true, found = labels.parts[known], prediction[known]
    for what, values in (("labels", true), ("prediction", found)):
      if values.size and values.max() >= self._num_classes:
        raise ValueError(
          f"segmentation metric: {what} hold class {values.max()}, expected "
          f"0 to {self._num_classes - 1}."
        )
    pairs = true.astype(np.int64) * self._num_classes + found
    counts = np.bincount(pairs, minlength=self.confusion.size)
    self.confusion += counts.reshape(self.confusion.shape)

  def merge(self, other: "SegmentationMetric") -> None:
    """Takes in all that another one took in."""
    self.confusion += other.confusion

  def result(self) -> dict[str, float]:
    """aAcc, mIoU, mAcc, mIoU_present, mIoU_joined.

    The means are over all classes, background too; a class that is
    nowhere counts as 0, but not in `mIoU_present`: classes in labels or
    predictions; `mIoU_joined` is that with left and right as one class.
    NaN without a known pixel.
    """
    right = np.diag(self.confusion)
    total, true = self.confusion.sum(), self.confusion.sum(1)
    if not total:
      names = ("aAcc", "mIoU", "mAcc", "mIoU_present", "mIoU_joined")
      return dict.fromkeys(names, float("nan"))
    joined = np.zeros_like(self.confusion)
    np.add.at(joined, np.ix_(self._joined, self._joined), self.confusion)
    iou = class_ious(self.confusion)
    values = {
      "aAcc": right.sum() / total,
      "mIoU": np.nan_to_num(iou).mean(),
      "mAcc": (right / np.maximum(true, 1)).mean(),
      "mIoU_present": np.nanmean(iou),
      "mIoU_joined": np.nanmean(class_ious(joined)),
    }
    return {name: 100 * float(value) for name, value in values.items()}
