"""Datasets that TensorFlow Datasets (TFDS) prepared; needs no TensorFlow."""

from __future__ import annotations

import os

import tensorflow_datasets as tfds

from data_pipelines import humans_tfds
from data_pipelines.corpus import records
from data_pipelines.humans_tfds import features as humans_features
from data_pipelines.sources import array_record, base

_SPLIT = "train"
_IMAGE = "image"
# Where a dataset may keep a label of an image, best first.
_LABELS = ("name", "file_name", "image/filename")


class TfdsSource:
  """The split "train" of a prepared dataset in ArrayRecord format.

  Of the dataset "humans" (`data_pipelines.humans_tfds`) all fields are read.
  Of others, the image file, and a label where there is one; the rest follows
  from the file.

  Raises:
    ValueError: no TFDS directory, or one without a split "train", a feature
      "image" that is an image, or of another file format.
    ShardReadError: a shard is missing.
  """

  def __init__(self, directory: str | os.PathLike):
    directory = os.fspath(directory)
    info = _read_info(directory)
    instructions = info.splits[_SPLIT].file_instructions
    files = [os.path.basename(item.filename) for item in instructions]
    array_record.check_shards(directory, dict.fromkeys(files))
    self._reader = array_record.ShardReader(
      [os.fspath(item.filename) for item in instructions],
      [item.examples_in_shard for item in instructions],
    )
    self._dataset = info.name
    counts = [item.examples_in_shard for item in instructions]
    self._identity = base.hash_texts([*files, *counts])
    features = dict(info.features.items())
    self._is_humans = isinstance(features[_IMAGE], humans_tfds.UprightImage)
    kind = tfds.features.Text
    labels = (n for n in _LABELS if isinstance(features.get(n), kind))
    self._label = next(labels, None)
    if not self._is_humans:
      wanted = {_IMAGE, self._label} - {None}
      features = {name: features[name] for name in wanted}
    # TFDS's own way to read only some features needs TensorFlow.
    self._features = tfds.features.FeaturesDict(features)

  def __len__(self) -> int:
    return len(self._reader)

  def __getitem__(self, index: int) -> records.Record:
    example = self._read(index)
    if self._is_humans:
      record = humans_features.to_record(example)
      base.check_content(record, f"{self.location(index)}: record {index}")
      return record
    name = self._name_of(index, example)
    return base.make_image_record(example[_IMAGE], name)

  def name(self, index: int) -> str:
    """The record's label; without one, its number in the split."""
    base.check_index(index, len(self))
    return self._name_of(index, self._read(index) if self._label else {})

  def location(self, index: int) -> str:
    return self._reader.location(index)

  def identity(self) -> str:
    """Of the names of the shards, and how many records each has."""
    return self._identity

  def _read(self, index: int) -> dict:
    data = self._reader[index]
    try:
      return self._features.deserialize_example_np(
        data, decoders={_IMAGE: tfds.decode.SkipDecoding()}
      )
    except Exception as error:  # TFDS's parser raises anything on bad bytes.
      raise base.ShardReadError(
        f"record {index}: {self.location(index)}: {error}"
      ) from error

  def _name_of(self, index: int, example: dict) -> str:
    if self._label:
      return example[self._label].decode("utf-8", "backslashreplace")
    return f"{self._dataset} {_SPLIT}[{index}]"


def _read_info(directory: str) -> tfds.core.DatasetInfo:
  """Reads what TFDS knows of a directory, and checks that we can use it."""
  try:
    info = tfds.builder_from_directory(directory).info
  except Exception as error:  # TFDS raises anything, over several lines.
    problem = " ".join(str(error).split())
    raise ValueError(f"{directory}: TFDS cannot open it: {problem}") from error
  if _SPLIT not in info.splits:
    raise ValueError(
      f"{directory}: no split {_SPLIT!r}; it has "
      f"{', '.join(map(repr, info.splits)) or 'none'}."
    )
  image = dict(info.features.items()).get(_IMAGE)
  if not isinstance(image, tfds.features.Image):
    found = f"is {image}" if image else f"is not in {list(info.features)}"
    raise ValueError(
      f"{directory}: feature {_IMAGE!r} {found}; expected an Image."
    )
  if info.file_format.value != "array_record":
    raise ValueError(
      f"{directory}: file_format={info.file_format.value!r}, expected "
      "'array_record'; prepare it with file_format=\"array_record\"."
    )
  return info
