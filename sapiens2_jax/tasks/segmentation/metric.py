"""How good predicted body parts are."""

import numpy as np
from jaxtyping import UInt8

from data_pipelines.corpus.labels import IGNORE, Labels


class SegmentationMetric:
  """Pixel accuracy, intersection over union and accuracy of classes.

  Percent, over all pixels of the set that are known.

  Attributes:
    confusion: (classes, classes) pixels, by true and by predicted class.

  Source: the public Sapiens2 release; `mIoU_present`: ours.
  """

  def __init__(self, num_classes: int):
    self._num_classes = num_classes
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
    """aAcc, mIoU, mAcc, mIoU_present.

    The means are over all classes, background too; a class that is
    nowhere counts as 0, but not in `mIoU_present`: classes in labels or
    predictions. NaN without a known pixel.
    """
    right = np.diag(self.confusion)
    true, found = self.confusion.sum(1), self.confusion.sum(0)
    union = true + found - right
    total = self.confusion.sum()
    if not total:
      names = ("aAcc", "mIoU", "mAcc", "mIoU_present")
      return dict.fromkeys(names, float("nan"))
    iou = right / np.maximum(union, 1)
    values = {
      "aAcc": right.sum() / total,
      "mIoU": iou.mean(),
      "mAcc": (right / np.maximum(true, 1)).mean(),
      "mIoU_present": iou[union > 0].mean(),
    }
    return {name: 100 * float(value) for name, value in values.items()}
