"""Heads in files of released weights: what is particular to a task."""

import dataclasses
from collections.abc import Mapping

from sapiens2_jax.tasks import name_sets


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformersHead:
  """A class of Hugging Face transformers.

  Attributes:
    class_name: of the whole model.
    labels: names of the channels.
    outputs: of each output of ours those of theirs, joined along channels.
    example: lines of Python that get outputs from `model` and `images`.
    finish: such lines that get predictions of the photograph's size from
      `processor`, `image` and `outputs`.
    prepare: such a line that gets `inputs` from `processor` and `image`.
    is_padded: images keep their shape and have black around them.
    flip_pairs: channels that a mirror image exchanges.
  """

  class_name: str
  labels: tuple[str, ...]
  outputs: Mapping[str, tuple[str, ...]]
  example: str
  finish: str
  prepare: str = 'inputs = processor(image, return_tensors="pt")'
  is_padded: bool = False
  flip_pairs: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReleaseHead:
  """What the heads of one task have in common.

  Attributes:
    predictor: reference name of the last convolution.
    num_outputs: channels of the map.
    is_shuffle: enlarged by pixel shuffles, not by transposed convolutions.
    norms_have_scales: or its norms learn nothing.
    predicts_scale: a number beside the map.
    pipeline_tag: kind of task by the words of the Hugging Face hub; none
      whose pipeline gives something else.
    file_name: of the task in names of released files; empty: its own.
    transformers: None if it has no class for the task.
  """

  predictor: str
  num_outputs: int
  is_shuffle: bool = True
  norms_have_scales: bool = False
  predicts_scale: bool = False
  pipeline_tag: str = "image-to-image"
  file_name: str = ""
  transformers: TransformersHead | None = None

  def with_labels(self, content: str) -> "ReleaseHead":
    """With the channels of a `name_sets.NameSet` as JSON; empty: as it is."""
    if not content:
      return self
    given = name_sets.parse(content)
    theirs = self.transformers and dataclasses.replace(
      self.transformers, labels=given.names, flip_pairs=given.pairs
    )
    return dataclasses.replace(
      self, num_outputs=len(given.names), transformers=theirs
    )
