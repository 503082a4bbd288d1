"""Matting lists: images with alpha, some with the foreground's own colours."""

from __future__ import annotations

import posixpath

import numpy as np

from data_pipelines.annotated import files, labelled, pictures, turning
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels


class MattingSource(labelled.LabelledSource):
  """Images of a JSON list with masks, or of a text list of RGBA images.

  A grey mask is alpha; one with transparency is alpha and the foreground, its
  colours not multiplied by alpha. 16 bits become 8. None is of a format that
  loses something.
  """

  def __init__(
    self, path: str, *, root: str | None = None, exif: str | None = None
  ):
    """Reads the list.

    Args:
      path: a JSON list of objects with `image` and `mask`, or any other file
        with the path of an RGBA image in each line.
      root: directory that paths are relative to; None for the list's own.
      exif: of masks, see `LabelledSource`; an RGBA image is turned with its
        own alpha.

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
    paths = [files.resolve(root, name) for name in names]
    super().__init__(paths, names, exif)
    self._masks = [files.resolve(root, mask) for _, mask in pairs]

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """Alpha, and the foreground where it is known."""
    path = self._masks[index]
    is_image = self._is_its_mask(index)
    alpha, colors = pictures.read_matte(
      path, record.image if is_image else None
    )
    if colors is None and is_image:
      raise files.bad_labels(path, "is nowhere transparent, expected RGBA")
    if colors is not None:
      colors = np.where(alpha[..., None] > 0, colors, 0).astype(np.uint8)
    return Labels(alpha=alpha, foreground=colors)

  def exif(self, index: int) -> str | None:
    """An RGBA image has its alpha as it is stored."""
    return turning.STORED if self._is_its_mask(index) else super().exif(index)

  def _is_its_mask(self, index: int) -> bool:
    return self._masks[index] == self.location(index)


def _read_json(path: str) -> list[tuple[str, str]]:
  pairs = []
  with files.problems_of(path) as add:
    for number, entry in enumerate(files.read_json(path, list)):
      found = entry if isinstance(entry, dict) else {}
      pair = found.get("image"), found.get("mask")
      if not all(map(files.is_path, pair)):
        add(f"[{number}]", 'expected {"image": PATH, "mask": PATH}')
      pairs.append(pair)
  return pairs


def _read_text(path: str) -> list[tuple[str, str]]:
  lines = map(str.strip, files.read_text(path).splitlines())
  return [(line, line) for line in lines if line]
