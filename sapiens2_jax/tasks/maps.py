"""What the tasks share that predict a map of the image's size."""

import dataclasses
import math
from typing import Any, ClassVar

import cv2
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8
from ml_collections import ConfigDict

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.grid import TokenGrid, token_grid
from sapiens2_jax.models.heads import PixelShuffleHead
from sapiens2_jax.tasks import geometric
from sapiens2_jax.tasks.base import (
  Example,
  Image,
  Inputs,
  ModelInput,
  Outputs,
  Size,
  UnusableExample,
)

Map = Float[np.ndarray, "h w c"]

MIN_PIXELS = 16
MAX_FRACTION = 0.96


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkTask:
  """A task that has one head.

  Attributes:
    name, needs: see `Task`.
    image_size: that the network sees.
    map_size: of targets and predictions; half of it in the 4K variant.
    network: the head.
  """

  name: str
  needs: tuple[str, ...]
  image_size: Size
  map_size: Size
  network: nn.Module

  def head(self) -> nn.Module:
    return self.network


class MapTask(NetworkTask):
  """A letterboxed image in, one map of its size out."""

  def preprocess(self, image: Image, labels: Labels | None) -> Inputs:
    """One input: the whole image, black around it."""
    given = self.image_size, math.floor
    canvas, _ = geometric.letterbox(image, Labels(), *given)
    return [ModelInput(canvas, geometric.fit(image.shape[:2], *given))]

  def postprocess(self, outputs: Outputs, inputs: Inputs) -> Any:
    (output,), (one,) = outputs, inputs
    return self.restore(output, one.context)

  def restore(self, output: Example, place: Any) -> Any:
    """The prediction, of the image's size.

    Args:
      output: of the network.
      place: context of the input: the `geometric.Letterbox` of the image.
    """
    raise NotImplementedError


class StretchedTask(MapTask):
  """A map task that sees the whole image, whatever its aspect.

  Attributes:
    enlarging: OpenCV's interpolation.
  """

  enlarging: ClassVar[int]

  def preprocess(self, image: Image, labels: Labels | None) -> Inputs:
    """One input; `restore` gets the size of the image."""
    resized = geometric.stretch(image, self.image_size, self.enlarging)
    return [ModelInput(resized, image.shape[:2])]


class LetterboxTask(MapTask):
  """A map task that learns the same with and without augmentation."""

  view: ClassVar[str] = "letterbox"

  def make_targets(self, labels: Labels) -> Example:
    """Of letterboxed labels of the map's size; raises UnusableExample."""
    raise NotImplementedError

  def targets(self, labels: Labels, size: Size) -> list[Example]:
    return [self.make_targets(self.letterbox_labels(labels))]

  def letterbox_labels(self, labels: Labels) -> Labels:
    """Labels of an image as `preprocess` shows it, of the map's size."""
    labels = geometric.letterbox_labels(labels, self.image_size, math.floor)
    return self.to_map(labels)

  def to_map(self, labels: Labels) -> Labels:
    """Letterboxed labels, resized to the map."""
    if self.map_size == self.image_size:
      return labels
    return geometric.resize_labels(labels, self.map_size)

  def to_canvas(self, prediction: Map) -> Map:
    """A map, resized linearly to what the network sees."""
    if self.map_size == self.image_size:
      return prediction
    return cv2.resize(prediction, self.image_size[::-1])


def settings(
  config: ConfigDict,
  output_name: str,
  num_outputs: int,
  kind: type[nn.Module] = PixelShuffleHead,
  **more: Any,
) -> dict[str, Any]:
  """Image size and head of a `NetworkTask`, from the groups of a config.

  Args:
    config: `data.image_size`; `head.upsample_channels`, `head.conv_channels`;
      `model.size`, `model.dtype`.
    output_name, num_outputs, more: fields of the head.
    kind: of head.

  Raises:
    ValueError: pixel shuffles do not give the size of the image.
  """
  size = tuple(config.data.image_size)
  channels = tuple(config.head.upsample_channels)
  grid = token_grid(get_architecture(config.model.size), size)
  if kind is PixelShuffleHead:
    _check_sizes(size, channels, grid)
  pixels = grid.pixels_per_token // grid.output_pixels_per_token
  map_size = tuple(side // pixels for side in size)
  network = kind(
    output_name,
    num_outputs,
    channels,
    tuple(config.head.conv_channels),
    dtype=jnp.dtype(config.model.dtype),
    **more,
  )
  return {"image_size": size, "map_size": map_size, "network": network}


def _check_sizes(
  size: Size, channels: tuple[int, ...], grid: TokenGrid
) -> None:
  side, wanted = grid.pixels_per_token, grid.output_pixels_per_token
  if 2 ** len(channels) != wanted:
    raise ValueError(
      f"head.upsample_channels={channels} enlarges {2 ** len(channels)} "
      f"times; {wanted} pixels a token need {wanted.bit_length() - 1} widths."
    )
  if any(length % side for length in size):
    raise ValueError(
      f"data.image_size={size} must be whole tokens of {side} pixels."
    )


def check_people(mask: Bool[np.ndarray, "h w"]) -> None:
  """Refuses an example that shows almost nobody, or nothing else.

  Raises:
    UnusableExample: fewer than 16 pixels, or more than 96 % of them.

  Source: the public Sapiens2 release.
  """
  count = np.count_nonzero(mask)
  if count < MIN_PIXELS:
    raise UnusableExample(f"fewer than {MIN_PIXELS} pixels of people")
  if count > MAX_FRACTION * mask.size:
    raise UnusableExample(f"people cover more than {MAX_FRACTION:.0%}")


def only_people(prediction: Map, labels: Labels) -> Map:
  """A map with zeros around people, where nothing is learned."""
  return prediction * labels.mask[..., None]


def to_uint8(values: Float[np.ndarray, "*b"]) -> UInt8[np.ndarray, "*b"]:
  """Values of [0, 1] as levels of 0 to 255; cut off beyond."""
  return (np.clip(values, 0, 1) * 255).astype(np.uint8)
