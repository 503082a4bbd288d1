"""An image, its prediction and the truth, side by side."""

from typing import Any

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.report.pictures import HEIGHT, to_image
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.base import Image, Task


def columns(
  task: Task, image: Image, prediction: Any, labels: Labels
) -> dict[str, Image]:
  """By what they show: the prediction and, if it can be drawn, the truth."""
  known = registry.definition(task.name)
  shown = known.mask(prediction, labels) if known.mask else prediction
  found = {"prediction": task.draw(image, shown)}
  if known.truth:
    found["truth"] = task.draw(image, known.truth(image, labels))
  return found


def side_by_side(
  task: Task, image: Image, prediction: Any, labels: Labels
) -> Image:
  """One picture of the image and its `columns`, about as high as in reports."""
  found = columns(task, image, prediction, labels)
  tiles = [to_image(pixels, HEIGHT) for pixels in (image, *found.values())]
  return np.concatenate([np.asarray(tile) for tile in tiles], axis=1)
