"""How good predicted keypoints are."""

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.pose import oks
from sapiens2_jax.tasks.pose.codec import People
from sapiens2_jax.tasks.pose.keypoint_sets import KeypointSet

# Of a person's mask in their box, which COCO's tools take where there are no
# masks.
_MASK_FRACTION = 0.53
_NEAR = 0.1  # of the longer side of the box


class KeypointMetric:
  """AP and AR of all keypoints, AP and AR of each group, and PCK.

  Percent. PCK is the fraction of labelled keypoints nearer than a tenth of the
  longer side of the person's box; it takes prediction i for person i.

  Source: groups, scores and suppression the public Sapiens2 release; areas from
  boxes, and PCK: ours.
  """

  def __init__(self, known: KeypointSet):
    self._sigmas = known.sigmas
    self._ids = {"": np.arange(len(known.names)), **known.groups}
    self._sets = {
      name: oks.KeypointAP(self._sigmas[ids]) for name, ids in self._ids.items()
    }
    self._num_near = self._num_labelled = 0

  def add(self, prediction: People, labels: Labels) -> None:
    """Takes in one image; people of labels come in the same order.

    Raises:
      ValueError: people missing, or another number of them.
    """
    if labels.people is None:
      raise ValueError("pose metric: labels have no people.")
    if len(prediction) != len(labels.people):
      raise ValueError(
        f"pose metric: predictions of {len(prediction)} people, expected "
        f"{len(labels.people)}, those of the labels."
      )
    if not len(prediction):
      return
    counts = {len(person.keypoints) for person in labels.people}
    if counts != {len(self._sigmas)}:
      raise ValueError(
        f"pose metric: people have {', '.join(map(str, sorted(counts)))} "
        f"keypoints, expected {len(self._sigmas)}."
      )
    keypoints = np.stack([person.keypoints for person in labels.people])
    boxes = np.array([person.box for person in labels.people], np.float64)
    areas = _MASK_FRACTION * boxes[:, 2] * boxes[:, 3]
    points = prediction[..., :2].astype(np.float64)
    self._count_near(points, keypoints, boxes)

    scores = oks.instance_scores(prediction[..., 2])
    kept = oks.suppress(points, scores, self._sigmas)
    for name, ids in self._ids.items():
      truth = oks.Truth(keypoints[:, ids], areas, boxes)
      self._sets[name].add(points[kept][:, ids], scores[kept], truth)

  def merge(self, other: "KeypointMetric") -> None:
    """Takes in all that another one took in."""
    for name, found in other._sets.items():
      self._sets[name].merge(found)
    self._num_near += other._num_near
    self._num_labelled += other._num_labelled

  def _count_near(self, points, keypoints, boxes) -> None:
    labelled = keypoints[..., 2] > 0
    distance = np.linalg.norm(points - keypoints[..., :2], axis=-1)
    near = distance < _NEAR * boxes[:, 2:].max(axis=1, keepdims=True)
    self._num_near += int((near & labelled).sum())
    self._num_labelled += int(labelled.sum())

  def result(self) -> dict[str, float]:
    """AP, AP50, ... of all; body_AP, ...; PCK. NaN: nothing labelled."""
    out = self._sets[""].result()
    for name in self._ids:
      if not name:
        continue
      found = self._sets[name].result()
      out |= {f"{name}_{key}": found[key] for key in ("AP", "AR")}
    fraction = (
      self._num_near / self._num_labelled if self._num_labelled else np.nan
    )
    return {
      key: 100 * value for key, value in (out | {"PCK": fraction}).items()
    }
