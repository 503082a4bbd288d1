"""Files and pictures of surface normals."""

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.files import Files, to_npy
from sapiens2_jax.tasks.normal.task import Normals
from sapiens2_jax.tasks.output import (
  FOREGROUND,
  Output,
  hide_background,
  without_background,
)


class NormalOutput(Output):
  """See `Output`."""

  options = FOREGROUND

  def encode(self, image: Image, prediction: Normals, labels: Labels) -> Files:
    values = without_background(prediction, labels)
    return {("normals", ".npy"): to_npy(values)}

  def draw(self, image: Image, prediction: Normals, labels: Labels) -> Image:
    """Black around people, as the public release."""
    picture = self.task.draw(image, prediction)
    return hide_background(picture, labels, (0, 0, 0))
