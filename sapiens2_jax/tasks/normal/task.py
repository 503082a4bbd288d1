"""Surface normals: unit vectors, x right, y up, z towards the camera.

Reads `data.image_size` (height, width), `head.upsample_channels` and
`head.conv_channels`, `model.size` and `model.dtype`; of labels alpha and
normals. A prediction is (h, w, 3) float32 of the image's size, of unit length
but for the interpolation.

Source: the public Sapiens2 release; arXiv 2604.21681 section 4.
"""

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from data_pipelines.corpus.labels import Labels
from data_pipelines.loading.examples import ElementSpec
from sapiens2_jax.models import heads
from sapiens2_jax.tasks import dense, geometric, maps, photometric
from sapiens2_jax.tasks.angles import AngleStatistics, angles_between
from sapiens2_jax.tasks.base import Arrays, Example, Image, Loss, Rng
from sapiens2_jax.tasks.totals import Totals

Normals = Float[np.ndarray, "h w 3"]

FIELDS = heads.config_fields()


def make_task(config: ConfigDict) -> "NormalTask":
  """See the module for the fields that it reads."""
  given = maps.settings(config, "normal", 3)
  return NormalTask("normal", ("alpha", "normal"), **given)


class NormalTask(maps.LetterboxTask):
  """See `ProbedTask`."""

  def element_spec(self) -> ElementSpec:
    return {
      "image": ((*self.image_size, 3), np.uint8),
      "normal": ((*self.map_size, 3), np.float32),
      "mask": (self.map_size, np.bool_),
    }

  def example(self, image: Image, labels: Labels, rng: Rng) -> Example:
    """Raises `UnusableExample` if almost nobody, or nothing else, is seen."""
    image = photometric.distort_colors(image, rng)
    image = photometric.resample(
      image, rng, probability=0.2, factors=(0.1, 0.7)
    )
    image, labels = geometric.random_view(image, labels, rng)
    image, labels = geometric.letterbox(image, labels, self.image_size)
    targets = self.make_targets(self.to_map(labels))
    image = photometric.blur(image, rng, probability=0.3)
    image = photometric.add_noise(image, rng, probability=0.3)
    image = photometric.solarize(image, rng, probability=0.3)
    return {"image": image, **targets}

  def make_targets(self, labels: Labels) -> Example:
    mask = _mask(labels)
    maps.check_people(mask)
    return {"normal": labels.normal, "mask": mask}

  def loss(self, outputs: Arrays, batch: Arrays) -> Loss:
    given = outputs["normal"], batch["normal"], batch["mask"]
    parts = {
      "loss_cosine": 10 * dense.cosine_loss(*given),
      "loss_l1": dense.masked_l1(*given),
      "loss_gradient": 10 * dense.gradient_loss(*given),
    }
    return sum(parts.values()), parts

  def restore(self, output: Example, place: geometric.Letterbox) -> Normals:
    normal = output["normal"]
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = self.to_canvas(normal / np.maximum(length, 1e-8))
    return geometric.uncover(normal, place)

  def metric(self) -> "NormalMetric":
    return NormalMetric()

  def draw(self, image: Image, prediction: Normals) -> Image:
    """(n + 1) / 2 as RGB."""
    return maps.to_uint8((prediction + 1) / 2)


class NormalMetric(Totals):
  """Angles in degrees over the pixels of people; fractions in percent.

  On the image itself, without the padding that the reference leaves in.
  """

  def __init__(self):
    self._angles = AngleStatistics()

  def add(self, prediction: Normals, labels: Labels) -> None:
    mask = _mask(labels)
    self._angles.add(angles_between(prediction[mask], labels.normal[mask]))

  def result(self) -> dict[str, float]:
    return {
      "mean": self._angles.mean(),
      "median": self._angles.median(),
      "rmse": self._angles.rmse(),
      **{name: 100 * x for name, x in self._angles.within().items()},
    }


def _mask(labels: Labels) -> np.ndarray:
  """People, where their normal is known."""
  return labels.mask & labels.normal.any(axis=-1)
