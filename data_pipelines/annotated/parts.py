"""Segmentation lists in any of the reference's taxonomies, as 29 parts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_pipelines.annotated import labelled, lists, pictures
from data_pipelines.common import images, storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import IGNORE, Labels
from data_pipelines.vocabulary import parts

IN_THE_WILD = "in_the_wild"
OURS = "sapiens29"  # The 29 themselves.
_ORDER = ("session_id", "camera_id", "frame_number")
_MIN_FOREGROUND = 8  # Pixels that are a part of a person.
_WILD = "internal33"  # All data with these labels are.


class PartsSource(labelled.LabelledSource):
  """Images with body parts, sorted by session, camera and frame as text.

  Labels without a target in the 29, and unknown ones, become 255. The score
  `in_the_wild` of a record, and the extra label, is 1 or 0: backgrounds of such
  images are left as they are in training. Images with fewer than 8 pixels of
  people are left out when they are read. As the public Sapiens2 release does.
  """

  def __init__(
    self,
    path: str,
    *,
    images: str,
    labels: str,
    taxonomy: str,
    exif: str | None = None,
  ):
    """Reads the list, and lists both directories.

    Args:
      path: a JSON list of objects with `sample_id`, `session_id`,
        `camera_id` and `frame_number`; `box-default` is not looked at.
      images: directory of `<sample_id>.jpg`, .png and so on.
      labels: directory of `<sample_id>.png` of one channel.
      taxonomy: of the labels; one of `taxonomies()`.
      exif: see `LabelledSource`.

    Raises:
      ValueError: unreadable, entries of another form, a file is missing, or
        no such taxonomy.
    """
    self._table = make_table(taxonomy)
    samples = lists.read_samples(path, _ORDER)
    samples.sort(key=lambda sample: [str(sample[name]) for name in _ORDER])
    ids = [sample["sample_id"] for sample in samples]
    names = lists.find_files(path, ids, images)
    maps = lists.find_files(path, ids, labels)
    paths = [storage.join(images, name) for name in names]
    super().__init__(paths, names, exif)
    self._maps = [storage.join(labels, name) for name in maps]
    self._is_wild = taxonomy == _WILD or "itw_" in path

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """Reads the picture of part labels, as the 29 parts."""
    path = self._maps[index]
    found = pictures.read_indices(path)
    found = np.where((found < 0) | (found > IGNORE), IGNORE, found)
    mapped = self._table[found]
    if ((mapped > 0) & (mapped != IGNORE)).sum() < _MIN_FOREGROUND:
      raise images.ImageDecodeError("nobody in it", path)
    is_wild = np.array([self._is_wild], np.uint8)
    return Labels(parts=mapped, extra={IN_THE_WILD: is_wild})

  def metadata(self, index: int) -> Mapping[str, object]:
    """Whether it was taken in the wild."""
    return {"scores": {IN_THE_WILD: float(self._is_wild)}}


def taxonomies() -> tuple[str, ...]:
  """The names of the taxonomies that can be mapped to the 29 parts."""
  return (*parts()["source_taxonomies"], OURS)


def make_table(taxonomy: str) -> np.ndarray:
  """(256,) uint8: label of a taxonomy -> one of the 29, or 255.

  Raises:
    ValueError: no such taxonomy.
  """
  known = {k: v["target"] for k, v in parts()["source_taxonomies"].items()}
  known[OURS] = range(parts()["num_classes"])
  if taxonomy not in known:
    raise ValueError(
      f"no such taxonomy as {taxonomy!r}; expected one of {', '.join(known)}."
    )
  targets = known[taxonomy]
  table = np.full(256, IGNORE, np.uint8)
  table[: len(targets)] = targets
  return table
