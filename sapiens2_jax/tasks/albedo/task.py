"""Albedo: the colour of surfaces without light, sRGB in [0, 1].

Reads `data.image_size` (height, width), `head.upsample_channels` and
`head.conv_channels`, `model.size` and `model.dtype`; of labels alpha and
albedo.

Source: the public Sapiens2 release; arXiv 2604.21681 section 4.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.common.errors import UnusableExample
from data_pipelines.corpus.labels import Labels
from data_pipelines.loading.examples import ElementSpec
from sapiens2_jax.models import heads
from sapiens2_jax.tasks import dense, geometric, maps, photometric
from sapiens2_jax.tasks.albedo.metric import ColorMetric, Colors
from sapiens2_jax.tasks.base import Arrays, Example, Image, Loss, Rng

MIN_STD = 0.02  # of [0, 1]

FIELDS = heads.config_fields()


@dataclasses.dataclass(frozen=True, eq=False)
class Albedo:
  """A prediction of the image's size, float32.

  Attributes:
    colors: for the metric, not cut to [0, 1].
    picture: for people to look at: cut to [0, 1] before it was resized.
  """

  colors: Colors
  picture: Colors


def make_task(config: ConfigDict) -> "AlbedoTask":
  """See the module for the fields that it reads."""
  given = maps.settings(config, "albedo", 3, norm="rms")
  return AlbedoTask("albedo", ("alpha", "albedo"), **given)


class AlbedoTask(maps.LetterboxTask):
  """See `ProbedTask`."""

  def element_spec(self) -> ElementSpec:
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "albedo": ((*self.map_size, 3), np.uint8),
      "mask": (self.map_size, np.bool_),
    }

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """No change of colour: albedo would have to change with it.

    Raises:
      UnusableExample: almost nobody, or nothing else, is seen; or albedo is
        the same everywhere.
    """
    image, labels = geometric.random_view(image, labels, rng)
    image, labels = geometric.letterbox(image, labels, self.image_size)
    targets = self.make_targets(self.to_map(labels))
    image = photometric.add_noise(image, rng, probability=0.2)
    return {"image": image, **targets}

  def make_targets(self, labels: Labels) -> Example:
    mask = labels.mask
    maps.check_people(mask)
    if labels.albedo[mask].std(axis=0).max() < 255 * MIN_STD:
      raise UnusableExample("albedo is the same everywhere")
    return {"albedo": labels.albedo, "mask": mask}

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    target = batch["albedo"].astype(jnp.float32) / 255
    given = outputs["albedo"], target, batch["mask"]
    parts = {
      "loss_l1": 2 * dense.masked_l1(*given),
      # Weight 2; across and down are a mean here, not a sum.
      "loss_gradient": dense.gradient_loss(*given),
      "loss_chromaticity": dense.chromaticity_loss(*given),
    }
    return sum(parts.values()), parts

  def restore(self, output: Example, place: geometric.Letterbox) -> Albedo:
    found = output["albedo"]
    return Albedo(
      *(
        geometric.uncover(self.to_canvas(colors), place)
        for colors in (found, np.clip(found, 0, 1))
      )
    )

  def metric(self) -> "AlbedoMetric":
    return AlbedoMetric()

  def draw(self, image: Image, prediction: Albedo) -> Image:
    """The prediction itself."""
    return maps.to_uint8(prediction.picture)


class AlbedoMetric(ColorMetric):
  """Over the pixels of people."""

  def add(self, prediction: Albedo, labels: Labels) -> None:
    target = labels.albedo.astype(np.float32) / 255
    super().add(prediction.colors, target, labels.mask)
