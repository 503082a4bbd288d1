"""Pictures of albedo."""

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks.albedo.task import Albedo
from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.output import FOREGROUND, Output, hide_background


class AlbedoOutput(Output):
  """See `Output`."""

  options = FOREGROUND

  def draw(self, image: Image, prediction: Albedo, labels: Labels) -> Image:
    """Grey around people, as the public release."""
    picture = self.task.draw(image, prediction)
    return hide_background(picture, labels, (100, 100, 100))
