"""Mattes as all others know them."""

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import Image, Score, TaskDefinition
from sapiens2_jax.tasks.matting.output import MattingOutput
from sapiens2_jax.tasks.matting.task import FIELDS, Matte, make_task
from sapiens2_jax.tasks.release import ReleaseHead, TransformersHead


def truth(image: Image, labels: Labels) -> Matte:
  alpha = labels.alpha[..., None].astype(np.float32) / 255
  colors = image if labels.foreground is None else labels.foreground
  return np.concatenate([colors / np.float32(255) * alpha, alpha], axis=-1)


# Not probed: it has no targets without augmentation.
TASK = TaskDefinition(
  name="matting",
  make=make_task,
  score=Score("mad", "matting MAD", higher_is_better=False),
  better={"iou": True, "*": False},
  fields=FIELDS,
  training_fields=("task.backgrounds",),
  note="People before a checkerboard, or a colour (--background). "
  "mattes/*.png holds their colour and, as alpha, how much of a pixel they "
  "cover; mattes/*_alpha.npy is alpha alone, (h, w) float32.",
  output=MattingOutput,
  truth=truth,
  release=ReleaseHead(
    predictor="decode_head.conv_matting",
    num_outputs=4,
    transformers=TransformersHead(
      class_name="Sapiens2ForImageMatting",
      labels=("red", "green", "blue", "alpha"),
      outputs={"matte": ("foregrounds", "alphas")},
      example="alphas = model(images).alphas",
      finish="(found,) = processor.post_process_image_matting(\n"
      "  outputs, target_sizes=[(image.height, image.width)]\n"
      ")\n"
      'alpha = found["alpha"]  # (1, height, width)',
    ),
  ),
)
