"""Body parts as all others know them."""

import numpy as np
from jaxtyping import Float

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import IGNORE, Labels
from sapiens2_jax.tasks.base import Image, Legend, Score, TaskDefinition
from sapiens2_jax.tasks.files import Files, to_png
from sapiens2_jax.tasks.output import PEOPLE, Output
from sapiens2_jax.tasks.probes import Dense, OnlineProbe, ProbeSettings, Targets
from sapiens2_jax.tasks.release import ReleaseHead, TransformersHead
from sapiens2_jax.tasks.segmentation import class_sets
from sapiens2_jax.tasks.segmentation.augment import Parts
from sapiens2_jax.tasks.segmentation.task import (
  FIELDS,
  SegmentationTask,
  make_task,
)

_PARTS = vocabulary.parts()


def _one_hot(targets: Targets) -> Dense:
  parts, classes = targets["parts"], np.arange(_PARTS["num_classes"])
  return (parts[..., None] == classes).astype(np.float32), parts != IGNORE


def _mean_iou(
  found: Float[np.ndarray, "n c"], wanted: Float[np.ndarray, "n c"]
) -> float:
  """Percent, over the classes that are anywhere."""
  found, wanted = found.argmax(axis=1), wanted.argmax(axis=1)
  fractions = [
    np.sum((found == c) & (wanted == c)) / np.sum((found == c) | (wanted == c))
    for c in np.union1d(found, wanted)
  ]
  return 100 * float(np.mean(fractions))


class PartsOutput(Output):
  """See `Output`; without people it is of whole images."""

  options = PEOPLE

  def encode(self, image: Image, prediction: Parts, labels: Labels) -> Files:
    return {("parts", ".png"): to_png(prediction)}


def _legend(task: SegmentationTask) -> Legend:
  names = (name.replace("_", " ") for name in task.classes.names[1:])
  return tuple(zip(names, task.classes.colors[1:]))


TASK = TaskDefinition(
  name="segmentation",
  make=make_task,
  score=Score("mIoU", "seg mIoU", higher_is_better=True),
  better={"*": True},
  fields=FIELDS,
  training_fields=("task.backgrounds",),
  note="Each part in its colour over the image. parts/*.png holds "
  "the number of a class in each pixel.",
  labels=class_sets.FIELD,
  legend=_legend,
  output=PartsOutput,
  truth=lambda image, labels: labels.parts,
  probe=ProbeSettings(
    output_name="logits",
    num_outputs=_PARTS["num_classes"],
    online=OnlineProbe(
      key="segmentation_miou",
      higher_is_better=True,
      dense=_one_hot,
      score=_mean_iou,
    ),
  ),
  release=ReleaseHead(
    predictor="decode_head.conv_seg",
    num_outputs=_PARTS["num_classes"],
    is_shuffle=False,
    pipeline_tag="image-segmentation",
    file_name="seg",
    transformers=TransformersHead(
      class_name="Sapiens2ForSemanticSegmentation",
      labels=tuple(_PARTS["names"]),
      outputs={"logits": ("logits",)},
      example="logits = model(images).logits",
      finish="(parts,) = processor.post_process_semantic_segmentation(\n"
      "  outputs, target_sizes=[(image.height, image.width)]\n"
      ")  # (height, width): the class of each pixel",
    ),
  ),
)
