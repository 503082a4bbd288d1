"""SynthHuman, the drawn people of DAViD: five files for each image."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Sequence

import numpy as np

from data_pipelines.annotated import files, geometry, labelled, pictures
from data_pipelines.common import images, kinds, packages, storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels

_IMAGE = "rgb"
_ENDINGS = (".png", ".exr", ".txt")
_METRES = 0.01  # Depth is in centimetres.
_NOTHING = 65504  # The largest 16-bit float: no depth there.
_HALF = 128  # Of alpha: people.
_MIN_PIXELS = 10  # Of people.
_NORMAL = ("R", "G", "B")  # x, y, z.


class SynthHumanSource(labelled.LabelledSource):
  """`rgb_N.png`, `alpha_N.png`, `depth_N.exr`, `normal_N.exr`, `cam_N.txt`.

  Alpha stays as soft as it is, except that pixels of people without a usable
  depth or normal get 127 of 255, just outside of the mask. Depth is along the
  camera's axis, in the file in centimetres, 65504 where there is nothing.
  Intrinsics are taken as they are written; whether their pixels begin at the
  centre or the corner of the first one is not known.

  Of normals the release says "XYZ" and no more. So each image's are compared
  with those of its depth; if other axes fit better, or none does, it is left
  out, and the message says which to give.

  Source: README.md and visualize_data.py of github.com/microsoft/DAViD.
  """

  def __init__(
    self,
    directory: str,
    *,
    axes: Sequence[str] = geometry.AXES,
    exif: str | None = None,
  ):
    """Lists the directory, with what is below it.

    Args:
      directory: where the archives were unpacked.
      axes: what of a file's normal is our x (right), y (up) and z (towards
        the camera), for example ("x", "-y", "-z").
      exif: see `LabelledSource`.

    Raises:
      ValueError: the directory is missing or cannot be listed, holds no
        `rgb_*.png`, or no such axes.
      MissingExtra: OpenEXR is not installed.
    """
    packages.require("OpenEXR", "exr")
    self._axes = geometry.read_axes(axes)
    if not storage.is_directory(directory):
      raise ValueError(f"{directory}: no such directory.")
    others = kinds.LeftOut()
    found = files.index_stems(directory, _ENDINGS, others)
    if others.counts:
      self.notes = (f"{directory}: left out {others.describe()}",)
    self._places = {
      stem: storage.join(directory, path) for stem, path in found.items()
    }
    stems = sorted(
      stem
      for stem, path in found.items()
      if posixpath.basename(path).startswith(f"{_IMAGE}_")
    )
    if not stems:
      raise ValueError(
        f"{directory}: holds no rgb_*.png; it should be where the archives of "
        "SynthHuman were unpacked."
      )
    super().__init__([self._places[stem] for stem in stems], stems, exif)

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """Alpha, depth with its camera, and normals."""
    size = record.height, record.width
    alpha, colors = pictures.read_matte(self._path(index, "alpha"))
    if colors is not None:
      path = self._path(index, "alpha")
      raise files.bad_labels(path, "is transparent, expected grey levels")
    depth_path = self._path(index, "depth")
    depth = _read_exr(depth_path, None, size)[..., 0]
    normal_path = self._path(index, "normal")
    normal = _read_exr(normal_path, _NORMAL, size)
    intrinsics = geometry.read_intrinsics(self._path(index, "cam"), size)
    if alpha.shape != size:
      path = self._path(index, "alpha")
      raise files.bad_labels(path, f"{alpha.shape}, its image is {size}")
    length = np.linalg.norm(normal, axis=-1)
    usable = (depth > 0) & (depth < _NOTHING) & np.isfinite(depth)
    usable &= (length > 0) & np.isfinite(length)
    mask = usable & (alpha >= _HALF)
    if mask.sum() < _MIN_PIXELS:
      raise images.ImageDecodeError("mask too small", self.location(index))
    depth = np.where(mask, depth * np.float32(_METRES), 0)
    geometry.check_depth(depth[mask], depth_path, "expected centimetres")
    geometry.check_normals(normal[mask], normal_path, "expected floats")
    stored = normal / np.where(mask, length, 1)[..., None]
    stored[~mask] = 0
    given = stored, mask, depth, intrinsics
    geometry.check_axes(*given, self._axes, normal_path)
    return Labels(
      alpha=np.where(mask, alpha, np.minimum(alpha, _HALF - 1)),
      depth=depth,
      intrinsics=intrinsics,
      normal=geometry.unit_normals(stored, mask, self._axes),
    )

  def _path(self, index: int, kind: str) -> str:
    """Where a file of an image is; `kind` stands where `rgb` does."""
    folder, name = posixpath.split(self.name(index))
    stem = posixpath.join(folder, f"{kind}{name.removeprefix(_IMAGE)}")
    if stem not in self._places:
      raise images.ImageDecodeError("missing labels", f"{stem}.*: no such file")
    return self._places[stem]


def _read_exr(
  path: str, names: Sequence[str] | None, size: tuple[int, int]
) -> np.ndarray:
  """Reads channels of an OpenEXR file.

  Args:
    path: of the file.
    names: of the channels; None if there has to be one alone.
    size: (height, width) that they must have.

  Returns:
    (h, w, channels) float32.

  Raises:
    ImageDecodeError: damaged, or of another size or other channels.
  """
  exr, data = packages.require("OpenEXR", "exr"), files.read(path)

  def read(**options):
    return exr.File(io.BytesIO(data), num_threads=0, **options)

  try:
    # A damaged header may ask for any amount of memory.
    low, high = read(header_only=True).header()["dataWindow"]
    found = tuple(int(side) for side in (high - low + 1)[::-1])
    if found == size:
      channels = read(separate_channels=True).channels()
  except Exception as error:  # It raises anything on bad bytes.
    raise files.bad_labels(path, f"no OpenEXR file: {error}") from error
  if found != size:
    raise files.bad_labels(path, f"{found}, its image is {size}")
  wanted = names or tuple(channels)[:1]
  if set(channels) != set(wanted):
    expected = " ".join(names) if names else "one"
    raise files.bad_labels(
      path, f"channels {' '.join(channels)}, expected {expected}"
    )
  pixels = [channels[name].pixels for name in wanted]
  if {array.shape for array in pixels} != {size}:
    raise files.bad_labels(path, "some channels have fewer pixels")
  return np.stack([array.astype(np.float32) for array in pixels], axis=-1)
