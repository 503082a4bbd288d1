"""Keypoints of people as all others know them."""

import numpy as np

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import Image, Score, TaskDefinition
from sapiens2_jax.tasks.pose import keypoint_sets
from sapiens2_jax.tasks.pose.codec import People
from sapiens2_jax.tasks.pose.output import PoseOutput
from sapiens2_jax.tasks.pose.task import FIELDS, STRIDE, make_task
from sapiens2_jax.tasks.probes import ProbeSettings
from sapiens2_jax.tasks.release import ReleaseHead, TransformersHead

_KEYPOINTS = vocabulary.keypoints()


def truth(image: Image, labels: Labels) -> People:
  """What is labelled has score 1."""
  found = [person.keypoints.copy() for person in labels.people]
  for points in found:
    points[:, 2] = points[:, 2] > 0
  return np.stack(found) if found else np.zeros((0, 0, 3))


TASK = TaskDefinition(
  name="pose",
  make=make_task,
  score=Score("AP", "pose mAP", higher_is_better=True),
  better={"*": True},
  fields=FIELDS,
  note="Keypoints that score --threshold or more, and the links between them. "
  "keypoints/*.json is a list of people: bbox (x0, y0, x1, y1), keypoints "
  "(x, y) and keypoint_scores, in pixels of the image.",
  labels=keypoint_sets.FIELD,
  output=PoseOutput,
  truth=truth,
  stride=STRIDE,
  probe=ProbeSettings(
    output_name="heatmaps",
    num_outputs=_KEYPOINTS["num_keypoints"],
    # A mirror image would be another input.
    fields={"task.flip_test": False},
  ),
  release=ReleaseHead(
    predictor="decode_head.conv_pose",
    num_outputs=_KEYPOINTS["num_keypoints"],
    is_shuffle=False,
    pipeline_tag="keypoint-detection",
    transformers=TransformersHead(
      class_name="Sapiens2ForPoseEstimation",
      labels=tuple(_KEYPOINTS["names"]),
      outputs={"heatmaps": ("heatmaps",)},
      example="heatmaps = model(images).heatmaps",
      prepare="# Of each image its people: left, top, width, height.\n"
      "boxes = [[[0, 0, image.width, image.height]]]\n"
      'inputs = processor(image, boxes=boxes, return_tensors="pt")',
      finish="(people,) = processor.post_process_pose_estimation("
      "outputs, boxes)\n"
      'keypoints = people[0]["keypoints"]  # (points, 2): x, y',
      flip_pairs=tuple(map(tuple, _KEYPOINTS["flip_pairs_left_right"])),
    ),
  ),
)
