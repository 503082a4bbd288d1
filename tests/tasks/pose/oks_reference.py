"""The rules of COCO's average precision of keypoints, in NumPy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from sapiens2_jax.tasks.pose.oks import Truth, extent_areas

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 20  # of an image
_RECALLS = np.linspace(0, 1, 101)
_AREAS = {
  "all": (0.0, 1e10),
  "medium": (32.0**2, 96.0**2),  # pixels
  "large": (96.0**2, 1e10),
}
_EPS = np.spacing(1)


def similarity(
  points: Float[np.ndarray, "d k 2"],
  truth: Truth,
  sigmas: Float[np.ndarray, "k"],
) -> Float[np.ndarray, "d g"]:
  """Object keypoint similarity, 0 to 1, of each detection and person.

  The mean over labelled keypoints of exp(-distance^2 / (2 area (2 sigma)^2)).
  For a person without any, distances are those to a box three times the size
  of theirs.
  """
  labelled = truth.keypoints[..., 2] > 0
  has_labels = labelled.any(axis=1)
  start = truth.boxes[:, 1::-1] - truth.boxes[:, :1:-1]
  end = truth.boxes[:, 1::-1] + 2 * truth.boxes[:, :1:-1]
  places = points[:, None]
  outside = np.maximum(start[:, None] - places, 0)
  outside += np.maximum(places - end[:, None], 0)
  offsets = np.where(
    has_labels[:, None, None], places - truth.keypoints[..., :2], outside
  )
  exponent = (offsets**2).sum(-1) / (2 * sigmas) ** 2 / 2
  exponent /= truth.areas[:, None] + _EPS
  counted = np.where(has_labels[:, None], labelled, True)
  return (np.exp(-exponent) * counted).sum(-1) / counted.sum(-1)


class KeypointAP:
  """Average precision and recall over a set of images.

  Attributes:
    sigmas: (k,) of the keypoints, as COCO defines them.
  """

  def __init__(self, sigmas: Float[np.ndarray, "k"]):
    self.sigmas = np.asarray(sigmas, np.float64)
    self._matches = {name: [] for name in _AREAS}

  def add(
    self,
    points: Float[np.ndarray, "d k 2"],
    scores: Float[np.ndarray, "d"],
    truth: Truth,
  ) -> None:
    """Takes in the detections and the people of one image."""
    if not len(points) and not len(truth.areas):
      return
    order = np.argsort(-scores, kind="stable")[:MAX_DETECTIONS]
    points, scores = points[order], scores[order]
    overlap = similarity(points, truth, self.sigmas)
    found_areas = extent_areas(points)
    unlabelled = ~(truth.keypoints[..., 2] > 0).any(axis=1)
    for name, (low, high) in _AREAS.items():
      ignored = unlabelled | (truth.areas < low) | (truth.areas > high)
      hit, skip = _match(overlap, ignored)
      skip |= ~hit & ((found_areas < low) | (found_areas > high))
      self._matches[name].append((scores, hit, skip, (~ignored).sum()))

  def result(self) -> dict[str, float]:
    """COCO's ten numbers, 0 to 1; NaN where no person is in the range."""
    curves = {
      name: _accumulate(images) for name, images in self._matches.items()
    }
    out = {}
    for kind, name in enumerate(("AP", "AR")):
      every = curves["all"][kind]
      out[name] = every.mean()
      out[f"{name}50"], out[f"{name}75"] = every[0], every[5]
      out[f"{name}_M"] = curves["medium"][kind].mean()
      out[f"{name}_L"] = curves["large"][kind].mean()
    return {name: float(value) for name, value in out.items()}


def _match(
  overlap: Float[np.ndarray, "d g"], ignored: Bool[np.ndarray, "g"]
) -> tuple[Bool[np.ndarray, "t d"], Bool[np.ndarray, "t d"]]:
  """Gives each detection, the best first, the most similar person left.

  Ignored people are taken only where no other will do.

  Returns:
    Whether a detection has a person at each threshold; whether that one is
    ignored.
  """
  num_found, num_people = overlap.shape
  hit = np.zeros((len(THRESHOLDS), num_found), bool)
  skip = np.zeros_like(hit)
  for t, threshold in enumerate(THRESHOLDS):
    free = np.ones(num_people, bool)
    for d in range(num_found):
      near = free & (overlap[d] >= threshold)
      candidates = near & ~ignored if (near & ~ignored).any() else near
      if not candidates.any():
        continue
      values = np.where(candidates, overlap[d], -1)
      best = num_people - 1 - values[::-1].argmax()  # the last of equals
      free[best] = False
      hit[t, d], skip[t, d] = True, ignored[best]
  return hit, skip


def _accumulate(images: list) -> tuple[np.ndarray, np.ndarray]:
  """Precision averaged over recalls, and the last recall, by threshold."""
  total = sum(count for *_, count in images)
  if not total:
    return (np.full(len(THRESHOLDS), np.nan),) * 2
  scores = np.concatenate([scores for scores, *_ in images])
  order = np.argsort(-scores, kind="stable")
  hit = np.concatenate([hit for _, hit, *_ in images], axis=1)[:, order]
  skip = np.concatenate([skip for *_, skip, _ in images], axis=1)[:, order]
  right = np.cumsum(hit & ~skip, axis=1, dtype=float)
  wrong = np.cumsum(~hit & ~skip, axis=1, dtype=float)
  recall = right / total
  precision = right / (right + wrong + _EPS)
  # The best precision at this recall or a higher one; 0 beyond the last.
  precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
  precision = np.pad(precision, ((0, 0), (0, 1)))
  averages = [
    row[np.searchsorted(found, _RECALLS)].mean()
    for row, found in zip(precision, recall)
  ]
  last = recall[:, -1] if len(order) else np.zeros(len(THRESHOLDS))
  return np.array(averages), last
