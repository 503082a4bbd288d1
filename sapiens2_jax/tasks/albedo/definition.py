"""Albedo as all others know it."""

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks import maps
from sapiens2_jax.tasks.albedo.output import AlbedoOutput
from sapiens2_jax.tasks.albedo.task import FIELDS, Albedo, make_task
from sapiens2_jax.tasks.base import Image, Score, TaskDefinition
from sapiens2_jax.tasks.probes import OnlineProbe, ProbeSettings
from sapiens2_jax.tasks.release import ReleaseHead


def truth(image: Image, labels: Labels) -> Albedo:
  colors = labels.albedo / np.float32(255)
  return Albedo(colors, colors)


def only_people(prediction: Albedo, labels: Labels) -> Albedo:
  return Albedo(
    maps.only_people(prediction.colors, labels),
    maps.only_people(prediction.picture, labels),
  )


TASK = TaskDefinition(
  name="albedo",
  make=make_task,
  score=Score("mae", "albedo MAE x 1e-2", higher_is_better=False, factor=100),
  better={"psnr": True, "ssim": True, "*": False},
  fields=FIELDS,
  note="The colour of surfaces without light, in predictions/*.png. The "
  "model has learned people; what is around them means nothing (with "
  "--foreground: grey).",
  output=AlbedoOutput,
  truth=truth,
  mask=only_people,
  probe=ProbeSettings(
    output_name="albedo",
    num_outputs=3,
    online=OnlineProbe(
      key="albedo_mae",
      higher_is_better=False,
      dense=lambda targets: (
        targets["albedo"] / np.float32(255),
        targets["mask"],
      ),
      score=lambda found, wanted: float(np.mean(np.abs(found - wanted))),
    ),
  ),
  # transformers has no class for it.
  release=ReleaseHead(
    predictor="decode_head.conv_albedo", num_outputs=3, norms_have_scales=True
  ),
)
