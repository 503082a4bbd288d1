"""Surface normals as all others know them."""

import numpy as np

from sapiens2_jax.tasks import maps
from sapiens2_jax.tasks.angles import angles_between
from sapiens2_jax.tasks.base import Score, TaskDefinition
from sapiens2_jax.tasks.normal.output import NormalOutput
from sapiens2_jax.tasks.normal.task import FIELDS, make_task
from sapiens2_jax.tasks.probes import OnlineProbe, ProbeSettings
from sapiens2_jax.tasks.release import ReleaseHead, TransformersHead

TASK = TaskDefinition(
  name="normal",
  make=make_task,
  score=Score("mean", "normal MAE deg", higher_is_better=False),
  better={"within_*": True, "*": False},
  fields=FIELDS,
  note="Red is to the right, green up, blue towards the camera. "
  "normals/*.npy is (h, w, 3) float16. The model has learned people; what is "
  "around them means nothing (with --foreground: black, NaN).",
  output=NormalOutput,
  truth=lambda image, labels: labels.normal,
  mask=maps.only_people,
  probe=ProbeSettings(
    output_name="normal",
    num_outputs=3,
    online=OnlineProbe(
      key="normal_deg",
      higher_is_better=False,
      dense=lambda targets: (targets["normal"], targets["mask"]),
      score=lambda found, wanted: float(np.mean(angles_between(found, wanted))),
    ),
  ),
  release=ReleaseHead(
    predictor="decode_head.conv_normal",
    num_outputs=3,
    transformers=TransformersHead(
      class_name="Sapiens2ForNormalEstimation",
      labels=("x", "y", "z"),
      outputs={"normal": ("normals",)},
      example="normals = model(images).normals",
      finish="# target_sizes alone would leave the black border in.\n"
      "(found,) = processor.post_process_normal_estimation(\n"
      "  outputs, source_sizes=[(image.height, image.width)]\n"
      ")\n"
      'normals = found["normals"]  # (3, height, width)',
      is_padded=True,
    ),
  ),
)
