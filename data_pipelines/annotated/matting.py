"""Matting lists: images with alpha, some with the foreground's own colours."""

from __future__ import annotations

import posixpath

import numpy as np

from data_pipelines.annotated import files, labelled
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels


class MattingSource(labelled.LabelledSource):
  """Images of a JSON list with masks, or of a text list of RGBA images.

  A mask of one channel is alpha; one of four is alpha and the foreground,
  its colours not multiplied by alpha. 16 bits become 8.
  """

  def __init__(self, path: str, *, root: str | None = None):
    """Reads the list.

    Args:
      path: a JSON list of objects with `image` and `mask`, or any other file
        with the path of an RGBA image in each line.
      root: directory that paths are relative to; None for the list's own.

    Raises:
      ValueError: unreadable, empty, or entries of another form: all are
        listed.
    """
    is_json = path.lower().endswith(".json")
    pairs = _read_json(path) if is_json else _read_text(path)
    if not pairs:
      raise ValueError(f"{path}: names no image.")
    root = posixpath.dirname(path) or "." if root is None else root
    names = [image for image, _ in pairs]
    super().__init__([files.resolve(root, name) for name in names], names)
    self._masks = [files.resolve(root, mask) for _, mask in pairs]

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """Alpha, and the foreground where it is known."""
    path = self._masks[index]
    is_image = path == self.location(index)
    data = record.image if is_image else files.read(path)
    pixels = files.decode_pixels(data, path)
    channels = pixels.shape[2]
    if channels == 4:
      alpha = pixels[..., 3]
      foreground = np.where(alpha[..., None] > 0, pixels[..., :3], 0)
      return Labels(alpha=alpha, foreground=foreground.astype(np.uint8))
    if is_image or not (pixels == pixels[..., :1]).all():
      expected = "RGBA" if is_image else "grey or RGBA"
      raise files.bad_labels(path, f"{channels} channels, expected {expected}")
    return Labels(alpha=pixels[..., 0])


def _read_json(path: str) -> list[tuple[str, str]]:
  pairs = []
  with files.problems_of(path) as add:
    for number, entry in enumerate(files.read_json(path, list)):
      found = entry if isinstance(entry, dict) else {}
      pair = found.get("image"), found.get("mask")
      if not all(isinstance(name, str) and name for name in pair):
        add(f"[{number}]", 'expected {"image": PATH, "mask": PATH}')
      pairs.append(pair)
  return pairs


def _read_text(path: str) -> list[tuple[str, str]]:
  lines = map(str.strip, files.read_text(path).splitlines())
  return [(line, line) for line in lines if line]
