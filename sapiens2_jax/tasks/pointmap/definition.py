"""Pointmaps as all others know them."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import Image, Score, TaskDefinition
from sapiens2_jax.tasks.pointmap.losses import unproject
from sapiens2_jax.tasks.pointmap.output import PointmapOutput
from sapiens2_jax.tasks.pointmap.task import FIELDS, Points, make_task
from sapiens2_jax.tasks.probes import Dense, OnlineProbe, ProbeSettings, Targets
from sapiens2_jax.tasks.release import ReleaseHead, TransformersHead


def truth(image: Image, labels: Labels) -> Points:
  points = labels.pointmap()
  return only_people(Points(points, points, 1.0), labels)


def only_people(prediction: Points, labels: Labels) -> Points:
  """What is around people as far away as the farthest point of them."""
  mask = labels.mask & (labels.depth > 0)
  depth = prediction.points[..., 2]
  farthest = depth[mask].max() if mask.any() else 1.0
  points = prediction.points.copy()
  points[..., 2] = np.where(mask, depth, farthest)
  return dataclasses.replace(prediction, points=points)


def _dense(targets: Targets) -> Dense:
  given = (jnp.asarray(targets[name][None]) for name in ("depth", "intrinsics"))
  return np.asarray(unproject(*given))[0], targets["mask"]


TASK = TaskDefinition(
  name="pointmap",
  make=make_task,
  score=Score("l2", "pointmap L2", higher_is_better=False),
  better={"*within_*": True, "*": False},
  fields=FIELDS,
  note="Bright is near, on the same scale in all pictures. depth/*.npy is "
  "(h, w), pointmaps/*.npy (h, w, 3): right, down and away from the camera in "
  "metres, float16. The model has learned people; what is around them means "
  "nothing (with --foreground: grey, NaN).",
  output=PointmapOutput,
  truth=truth,
  mask=only_people,
  probe=ProbeSettings(
    output_name="pointmap",
    num_outputs=3,
    has_scale=True,
    online=OnlineProbe(
      key="pointmap_l2",
      higher_is_better=False,
      dense=_dense,
      score=lambda found, wanted: float(
        np.mean(np.linalg.norm(found - wanted, axis=1))
      ),
    ),
  ),
  release=ReleaseHead(
    predictor="decode_head.conv_pointmap",
    num_outputs=3,
    predicts_scale=True,
    pipeline_tag="depth-estimation",
    transformers=TransformersHead(
      class_name="Sapiens2ForPointmapEstimation",
      labels=("x", "y", "z"),
      outputs={"pointmap": ("pointmaps",), "scale": ("scales",)},
      example="out = model(images)\n"
      "points = out.pointmaps / out.scales[..., None, None]  # metres",
      finish="# target_sizes alone would leave the black border in.\n"
      "(found,) = processor.post_process_pointmap_estimation(\n"
      "  outputs, source_sizes=[(image.height, image.width)]\n"
      ")\n"
      'points = found["pointmap"]  # (3, height, width), metres',
      is_padded=True,
    ),
  ),
)
