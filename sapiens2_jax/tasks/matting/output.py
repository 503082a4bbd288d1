"""Files and pictures of mattes."""

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.fields import Field, must
from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.files import Files, to_npy, to_png
from sapiens2_jax.tasks.matting.task import Matte, composite
from sapiens2_jax.tasks.output import Output

_MIN_ALPHA = 1 / 255


def _is_color(levels: tuple) -> bool:
  return len(levels) in (0, 3) and all(
    type(level) is int and 0 <= level <= 255 for level in levels
  )


class MattingOutput(Output):
  """See `Output`."""

  options = {
    "background": Field(
      (),
      "Colour behind people, R,G,B; a checkerboard if not given.",
      must("red,green,blue, each 0 to 255", _is_color),
    ),
  }

  def encode(self, image: Image, prediction: Matte, labels: Labels) -> Files:
    """Colours of PNG are not multiplied by alpha."""
    alpha = prediction[..., 3:]
    colors = np.clip(prediction[..., :3] / np.maximum(alpha, _MIN_ALPHA), 0, 1)
    levels = np.rint(np.concatenate([colors, alpha], axis=-1) * 255)
    return {
      ("mattes", ".png"): to_png(levels.astype(np.uint8)),
      ("mattes", "_alpha.npy"): to_npy(alpha[..., 0], np.float32),
    }

  def draw(self, image: Image, prediction: Matte, labels: Labels) -> Image:
    color = self.chosen["background"]
    if not color:
      return self.task.draw(image, prediction)
    return composite(prediction, np.float32(color) / 255)
