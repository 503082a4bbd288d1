"""From the text of a config to a source."""

from __future__ import annotations

import fractions
import os

from data_pipelines.common import storage, tars
from data_pipelines.corpus import manifest
from data_pipelines.sources import array_record, base, folder, mixture, tar

_TFDS_FILE = "dataset_info.json"


def open_source(places: str | os.PathLike) -> mixture.Mixture:
  """Opens one place, or a weighted mixture of several.

  Args:
    places: "PLACE", "PLACE;PLACE" (each image equally often) or
      "PLACE,WEIGHT;PLACE,WEIGHT". A place is, on a disk or in a bucket, a
      corpus of `build_corpus`, a prepared TFDS directory (split "train"), a
      tar or a glob of tars, or a folder of images; or labelled images in a
      format of other people, "FORMAT:PATH,OPTION=VALUE", which
      `annotated.open_annotated` describes.

  Raises:
    ValueError: no such place, nothing usable in it, or a weight for some
      places only; the message names the place.
    ShardReadError: a file of a source is missing or has a wrong size.
  """
  parts = [
    _split_weight(part) for part in os.fspath(places).split(";") if part.strip()
  ]
  if not parts:
    raise ValueError(f"{places!r} names no place.")
  weights = [weight for _, weight in parts if weight is not None]
  if weights and len(weights) != len(parts):
    missing = next(place for place, weight in parts if weight is None)
    raise ValueError(
      f"{missing}: other places have weights, this has none; expected "
      '"PLACE,WEIGHT;PLACE,WEIGHT".'
    )
  opened = [_open_place(place) for place, _ in parts]
  return mixture.Mixture(opened, weights or None)


def _split_weight(part: str) -> tuple[str, fractions.Fraction | None]:
  place, comma, weight = part.strip().rpartition(",")
  if not comma:
    return weight, None
  try:
    return place.strip(), fractions.Fraction(weight.strip())
  except (ValueError, ZeroDivisionError):
    return part.strip(), None


def _open_place(place: str) -> base.ImageSource:
  try:
    return _open_existing(place)
  except OSError as error:
    raise ValueError(f"{place}: cannot be looked at: {error}") from error


def _open_existing(place: str) -> base.ImageSource:
  from data_pipelines import annotated  # Which is made of this package.

  if annotated.is_annotated(place):
    return annotated.open_annotated(place)
  paths = tars.expand(place)
  if paths:
    return _with_images(tar.TarSource(paths), place)
  if manifest.is_corpus(place):
    return array_record.ArrayRecordSource(place)
  if storage.exists(storage.join(place, _TFDS_FILE)):
    # Imports for seconds.
    from data_pipelines.humans_tfds.source import TfdsSource

    return TfdsSource(place)
  if not storage.is_directory(place):
    raise ValueError(
      f"{place}: no such directory; expected a corpus with a "
      f"{manifest.NAME}, a TFDS directory, a .tar, a folder of images, or "
      f"FORMAT:PATH of {' '.join(annotated.FORMATS)}."
    )
  return _with_images(folder.FolderSource(place), place)


def _with_images(source: base.ImageSource, place: str) -> base.ImageSource:
  if not len(source):
    raise ValueError(
      f"{place}: holds no images ({' '.join(tars.IMAGE_EXTENSIONS)}), and is "
      f"no corpus (no {manifest.NAME})."
    )
  return source
