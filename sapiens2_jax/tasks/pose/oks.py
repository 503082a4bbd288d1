"""COCO's average precision and recall of any set of keypoints."""

import contextlib
import dataclasses
import io

import numpy as np
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# COCO's ten numbers, in its order.
NAMES = "AP AP50 AP75 AP_M AP_L AR AR50 AR75 AR_M AR_L".split()
_EPS = np.spacing(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
  """The people of one image.

  Attributes:
    keypoints: (g, k, 3): x, y in pixels; and 0 where not labelled.
    areas: (g,) square pixels.
    boxes: (g, 4): top, left, height, width in pixels.
  """

  keypoints: Float[np.ndarray, "g k 3"]
  areas: Float[np.ndarray, "g"]
  boxes: Float[np.ndarray, "g 4"]


def extent_areas(points: Float[np.ndarray, "d k 2"]) -> Float[np.ndarray, "d"]:
  """Area of the box around each detection's points, square pixels."""
  return np.prod(np.ptp(points, axis=1), axis=-1)


def instance_scores(
  keypoint_scores: Float[np.ndarray, "d k"],
) -> Float[np.ndarray, "d"]:
  """Mean of a person's scores above 0.2, or 0. Source: the public release."""
  counted = keypoint_scores > 0.2
  sums = (keypoint_scores * counted).sum(axis=1)
  return sums / np.maximum(counted.sum(axis=1), 1)


def suppress(
  points: Float[np.ndarray, "d k 2"],
  scores: Float[np.ndarray, "d"],
  sigmas: Float[np.ndarray, "k"],
  threshold: float = 0.9,
) -> np.ndarray:
  """Drops detections too similar to better ones.

  Returns:
    Places of those that stay, the best first.

  Source: the public Sapiens2 release; the area is the mean of both.
  """
  areas = extent_areas(points)
  order = np.argsort(-scores, kind="stable")
  kept = []
  while len(order):
    best, order = order[0], order[1:]
    kept.append(best)
    square = ((points[order] - points[best]) ** 2).sum(-1)
    area = (areas[order] + areas[best]) / 2 + _EPS
    exponent = square / (2 * sigmas) ** 2 / area[:, None] / 2
    order = order[np.exp(-exponent).mean(-1) <= threshold]
  return np.array(kept, int)


class KeypointAP:
  """Average precision and recall over a set of images.

  Attributes:
    sigmas: (k,) of the keypoints, as COCO defines them.
  """

  def __init__(self, sigmas: Float[np.ndarray, "k"]):
    self.sigmas = np.asarray(sigmas, np.float64)
    self._num_images = 0
    self._people: list[dict] = []
    self._found: list[dict] = []

  def add(
    self,
    points: Float[np.ndarray, "d k 2"],
    scores: Float[np.ndarray, "d"],
    truth: Truth,
  ) -> None:
    """Takes in the detections and the people of one image.

    Raises:
      ValueError: another number of keypoints than sigmas.
    """
    for what, found in (
      ("points", points.shape[1]),
      ("keypoints", truth.keypoints.shape[1]),
    ):
      if found != len(self.sigmas):
        raise ValueError(
          f"oks: {found} {what} a person, expected {len(self.sigmas)}."
        )
    self._num_images += 1
    place = {"image_id": self._num_images, "category_id": 1}
    for keypoints, area, box in zip(truth.keypoints, truth.areas, truth.boxes):
      top, left, height, width = box
      self._note(
        self._people,
        keypoints=keypoints.reshape(-1),
        **place,
        area=area,
        bbox=[left, top, width, height],
        num_keypoints=np.count_nonzero(keypoints[:, 2] > 0),
        iscrowd=0,
      )
    # A detection has no box: its size is that of its points.
    for one, score, area in zip(points, scores, extent_areas(points)):
      keypoints = np.column_stack([one, np.ones(len(one))])
      self._note(
        self._found,
        keypoints=keypoints.reshape(-1),
        **place,
        area=area,
        score=score,
      )

  def merge(self, other: "KeypointAP") -> None:
    """Takes in all images that another one took in."""
    for own, listed in (
      (self._people, other._people),
      (self._found, other._found),
    ):
      for one in listed:
        image = self._num_images + one["image_id"]
        self._note(own, **{**one, "image_id": image})
    self._num_images += other._num_images

  def _note(self, listed: list[dict], **one) -> None:
    # COCO takes 0 for nothing.
    listed.append({**one, "id": len(listed) + 1})

  def result(self) -> dict[str, float]:
    """COCO's ten numbers, 0 to 1; NaN where no person is in the range."""
    with contextlib.redirect_stdout(io.StringIO()):  # It talks.
      evaluation = COCOeval(
        self._open(self._people), self._open(self._found), "keypoints"
      )
      evaluation.params.kpt_oks_sigmas = self.sigmas
      evaluation.evaluate()
      evaluation.accumulate()
      evaluation.summarize()
    return {
      name: float(value) if value >= 0 else float("nan")
      for name, value in zip(NAMES, evaluation.stats)
    }

  def _open(self, annotations: list[dict]) -> COCO:
    numbers = range(1, self._num_images + 1)
    coco = COCO()
    coco.dataset = {
      "images": [{"id": number} for number in numbers],
      "categories": [{"id": 1}],
      "annotations": annotations,
    }
    coco.createIndex()
    return coco
