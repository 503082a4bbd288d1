"""Opens any dataset by the text that a config holds, its spec."""

from __future__ import annotations

import fractions
import glob
import os

from data_pipelines import annotated
from data_pipelines.common import kinds, storage, tars
from data_pipelines.corpus import manifest
from data_pipelines.sources import array_record, base, folder, mixture, tar

_TFDS_FILE = "dataset_info.json"


def open_source(specs: str | os.PathLike) -> mixture.Mixture:
  """Opens one dataset, or a weighted mixture of several.

  Args:
    specs: "SPEC", "SPEC;SPEC" (each image equally often) or
      "SPEC,WEIGHT;SPEC,WEIGHT". A spec is, on a disk or in a bucket, a
      corpus of `build_corpus`, a prepared TFDS directory (split "train"), a
      tar or a glob of tars, or a folder of images, each of which may have ";"
      or "," in its path if it is given alone; or labelled images in a
      format of other people, "FORMAT:PATH,OPTION=VALUE", which
      `annotated.open_annotated` describes.

  Raises:
    ValueError: no such dataset, nothing usable in it, or a weight for some
      of them only; the message names the spec.
    ShardReadError: a file of a source is missing or has a wrong size.
  """
  parts = _split(specs)
  if not parts:
    raise ValueError(f"{specs!r} names no dataset.")
  weights = [weight for _, weight in parts if weight is not None]
  if weights and len(weights) != len(parts):
    missing = next(spec for spec, weight in parts if weight is None)
    raise ValueError(
      f"{missing}: other datasets have weights, this has none; expected "
      '"SPEC,WEIGHT;SPEC,WEIGHT".'
    )
  opened = [_open_spec(spec) for spec, _ in parts]
  return mixture.Mixture(opened, weights or None)


def places(specs: str | os.PathLike) -> frozenset[str]:
  """Where the datasets of `open_source` lie, however it is written."""
  found = (storage.normal(spec) for spec, _ in _split(specs))
  return frozenset(map(storage.absolute, found))


def open_field(field: str, specs: str | os.PathLike) -> mixture.Mixture:
  """As `open_source`, for a field of a config, which the error names."""
  try:
    return open_source(specs)
  except ValueError as error:
    raise ValueError(f"{field}={specs}: {error}") from error


def _split(
  specs: str | os.PathLike,
) -> list[tuple[str, fractions.Fraction | None]]:
  specs = os.fspath(specs)
  if os.path.exists(specs):
    return [(specs, None)]
  return [_split_weight(part) for part in specs.split(";") if part.strip()]


def _split_weight(part: str) -> tuple[str, fractions.Fraction | None]:
  spec, comma, weight = part.strip().rpartition(",")
  if not comma or os.path.exists(part.strip()):
    return part.strip(), None
  try:
    return spec.strip(), fractions.Fraction(weight.strip())
  except (ValueError, ZeroDivisionError):
    return part.strip(), None


def _open_spec(spec: str) -> base.ImageSource:
  try:
    return _open_existing(spec)
  except OSError as error:
    raise ValueError(f"{spec}: cannot be looked at: {error}") from error


def _open_existing(spec: str) -> base.ImageSource:
  if annotated.is_annotated(spec):
    source = annotated.open_annotated(spec)
    annotated.announce(source)
    return source
  paths = tars.expand(spec)
  if paths:
    return _with_images(tar.TarSource(paths), spec)
  if manifest.is_corpus(spec):
    return array_record.ArrayRecordSource(spec)
  if storage.exists(storage.join(spec, _TFDS_FILE)):
    # Imports for seconds, and needs an extra.
    from data_pipelines.humans_tfds.source import TfdsSource

    return TfdsSource(spec)
  if not storage.is_directory(spec):
    raise ValueError(
      f"{spec}: no such directory; expected a corpus with a "
      f"{manifest.NAME}, a TFDS directory, a .tar, a folder of images, or "
      f'FORMAT:PATH of {" ".join(annotated.FORMATS)}; ";" separates '
      'datasets, "," precedes a weight.'
    )
  if versions := _find_tfds(spec):
    raise ValueError(
      f"{spec}: holds TFDS datasets; write the directory of a version, such as "
      f"{versions[-1]}"
    )
  return _with_images(folder.FolderSource(spec), spec)


def _find_tfds(root: str) -> list[str]:
  """Versions of datasets below what TFDS calls its data_dir, or a dataset."""
  if storage.is_remote(root):  # Not worth its requests.
    return []
  escaped = glob.escape(root)
  return [
    os.path.dirname(path)
    for depth in ("*", "*/*")
    for path in storage.expand(storage.join(escaped, depth, _TFDS_FILE))
  ]


def _with_images(source: base.ImageSource, spec: str) -> base.ImageSource:
  if not len(source):
    raise ValueError(
      f"{spec}: holds no images ({' '.join(kinds.IMAGE_ENDINGS)}), and is "
      f"no corpus (no {manifest.NAME})."
    )
  return source
