"""How predictions become files, and what a user of `predict` may choose."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.fields import Field, Schema
from sapiens2_jax.tasks.base import Image, Size, Task
from sapiens2_jax.tasks.files import Files

# Options that say what `predict` finds out before: `Labels.people`, and
# `Labels.alpha` of 0 and 255. A task that has them reads those.
PEOPLE: Schema = {
  "boxes": Field("", "JSON like COCO's with people's boxes."),
  "detect": Field(False, "Find people with the detector of curation."),
}
FOREGROUND: Schema = {
  "foreground": Field("", "Model of body parts; leave out what is no person."),
}


@dataclasses.dataclass(frozen=True)
class Listed:
  """What was written for one image."""

  name: str  # relative to its folder
  size: Size
  files: Files  # those of `Output.reads`


class Output:
  """Files of one run of `predict`; tasks have subclasses.

  Attributes:
    options: flags of `predict` that this task has, by name.
    reads: files that `draw_last` and `summarize` get.
    draws_last: `draw_last` makes the pictures, not `draw`.
    task, chosen: of the run; `chosen` has a value for each option.
  """

  options: ClassVar[Schema] = {}
  reads: ClassVar[tuple[tuple[str, str], ...]] = ()
  draws_last: ClassVar[bool] = False

  def __init__(self, task: Task, chosen: Mapping[str, Any]):
    self.task, self.chosen = task, chosen

  def encode(self, image: Image, prediction: Any, labels: Labels) -> Files:
    """The numbers of a prediction; labels are what it was made with."""
    return {}

  def draw(self, image: Image, prediction: Any, labels: Labels) -> Image:
    return self.task.draw(image, prediction)

  def draw_last(self, files: Files) -> Image:
    """The picture of an image, when all have been encoded."""
    raise NotImplementedError

  def summarize(
    self, name: str, listed: Iterator[Listed]
  ) -> tuple[str, Iterable[bytes]] | None:
    """A file about all images: its name, and its content in pieces.

    Args:
      name: of the directory.
      listed: images in their order, read when they are asked for.
    """

  def facts(self) -> list[tuple[str, str]]:
    """What the page says of all pictures."""
    return []


def hide_background(
  picture: Image, labels: Labels, color: tuple[int, int, int]
) -> Image:
  """A colour where nobody is, if that is known."""
  if labels.alpha is None:
    return picture
  return np.where(labels.mask[..., None], picture, np.uint8(color))


def without_background(values: np.ndarray, labels: Labels) -> np.ndarray:
  """NaN where nobody is, if that is known; values are (h, w, ...)."""
  if labels.alpha is None:
    return values
  values = values.copy()
  values[~labels.mask] = np.nan
  return values
