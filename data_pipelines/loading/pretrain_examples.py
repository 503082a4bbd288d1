"""Examples of pretraining: the crops of one photograph."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.common import images
from data_pipelines.corpus.records import Record
from data_pipelines.loading import crops
from data_pipelines.loading.examples import ElementSpec


@dataclasses.dataclass(frozen=True)
class PretrainExamples:
  """Makes `global_crops` and `local_crops`, (views, h, w, 3) uint8 each.

  Attributes:
    crops: the views of one image.
    seed: of the crops, 0 to 2**32 - 1.
    max_pixels: an image of more is unusable.
  """

  crops: crops.CropConfig
  seed: int = 0
  max_pixels: int = images.DEFAULT_MAX_PIXELS

  def element_spec(self) -> ElementSpec:
    views = self.crops
    return {
      "global_crops": ((views.num_global, *views.global_size, 3), np.uint8),
      "local_crops": ((views.num_local, *views.local_size, 3), np.uint8),
    }

  def make(
    self, record: Record, index: int, epoch: int, out: dict[str, np.ndarray]
  ) -> None:
    """Decodes once for all views, no larger than they need."""
    size, views = (record.height, record.width), self.crops
    boxes = crops.draw_boxes(
      *size, views, seed=self.seed, index=index, epoch=epoch
    )
    image = images.decode_image(
      record.image,
      min_size=crops.required_size(*size, boxes, views),
      max_pixels=self.max_pixels,
    )
    for name, view_size, group in (
      ("global_crops", views.global_size, boxes[0]),
      ("local_crops", views.local_size, boxes[1]),
    ):
      for view, box in zip(out[name], group):
        crops.cut(image, box, size, view_size, out=view)
