"""Folders of maps joined by file stem: normals, depth, albedo."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.annotated import files, labelled
from data_pipelines.common import images, kinds, storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels

MAPS = ("normal", "depth", "albedo")
_INTRINSICS = "camera_intrinsics"
# Of the files that are no pictures.
_EXTENSIONS = {
  "normal": (".npy", ".npz"),
  "depth": (".npy", ".npz"),
  _INTRINSICS: (".txt",),
}
_MIN_PIXELS = 10  # Of a mask.
# Face, hair, lips, teeth and tongue of the 28-class labels.
_FACE = (2, 3, 23, 24, 25, 26, 27)
_AXES = ("x", "y", "z")


class FoldersSource(labelled.LabelledSource):
  """Images of `rgb/` with `mask/` and any of `normal/ depth/ albedo/`.

  Files belong together by their stems, and so does `camera_intrinsics/` with
  `depth/`; `camera_extrinsics/` is not read. A pixel is in the mask if its
  first channel is above 0 and all maps are usable there: neither NaN nor
  infinite, no normal of length 0, no depth that is not above 0. Normals are
  made unit vectors. An image with a missing file, or with fewer than 10
  pixels of mask, is left out when it is read.
  """

  def __init__(
    self,
    directory: str,
    *,
    maps: Sequence[str] | None = None,
    axes: Sequence[str] = _AXES,
    face_parts: str | None = None,
  ):
    """Lists the directories.

    Args:
      directory: of `rgb/` and the others.
      maps: of `MAPS`, those to read; None for all that are there.
      axes: what of a file's normal is our x (right), y (up) and z (towards
        the camera), for example ("x", "-y", "-z"). The public Sapiens2
        release says of its files "camera frame (x, y, z)" and no more, so
        whether the default is right for them is not known.
      face_parts: directory of `<stem>_seg.npy`, 28-class labels of any size,
        whose face, hair, lips, teeth and tongue leave the mask.

    Raises:
      ValueError: a directory is missing or cannot be listed, no image has a
        mask, or no such map or axes.
    """
    self._axes = read_axes(axes)
    self._maps = _find_maps(directory, maps)
    self._face_parts = face_parts
    wanted = ["rgb", "mask", *self._maps]
    wanted += [_INTRINSICS] if "depth" in self._maps else []
    self._files = {name: _list_files(directory, name) for name in wanted}
    stems = sorted(self._files["rgb"])
    if not set(stems) & set(self._files["mask"]):
      raise ValueError(f"{directory}: no stem of rgb/ is one of mask/.")
    super().__init__([self._files["rgb"][stem] for stem in stems], stems)

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The mask, and all maps inside it."""
    path = self._path(index, "mask")
    mask = files.decode_pixels(files.read(path), path)[..., 0] > 0
    if self._face_parts is not None:
      mask &= ~self._read_face(index, mask.shape)
    maps = {}
    for name in self._maps:
      map_path = self._path(index, name)
      maps[name], usable = self._read_map(name, map_path)
      if usable.shape != mask.shape:
        raise files.bad_labels(
          map_path, f"{usable.shape}, its mask is {mask.shape}"
        )
      mask &= usable
    if mask.sum() < _MIN_PIXELS:
      raise images.ImageDecodeError("mask too small", path)
    for array in maps.values():
      array[~mask] = 0
    if "depth" in maps:
      maps["intrinsics"] = self._read_intrinsics(index)
    return Labels(alpha=np.where(mask, 255, 0).astype(np.uint8), **maps)

  def _path(self, index: int, name: str) -> str:
    stem = self.name(index)
    if stem not in self._files[name]:
      problem = f"{name}/{stem}.*: no such file"
      raise images.ImageDecodeError("missing labels", problem)
    return self._files[name][stem]

  def _read_map(self, name: str, path: str) -> tuple[np.ndarray, np.ndarray]:
    """A map, and where it can be used."""
    if name == "albedo":
      albedo = images.decode_image(files.read(path)).copy()
      return albedo, np.ones(albedo.shape[:2], bool)
    array = files.load_array(path, name, np.floating).astype(np.float32)
    if name == "depth":
      if array.ndim != 2:
        raise files.bad_labels(path, f"{array.shape}, expected (h, w)")
      return array, np.isfinite(array) & (array > 0)
    if array.ndim != 3 or array.shape[2] != 3:
      raise files.bad_labels(path, f"{array.shape}, expected (h, w, 3)")
    normal = np.stack([sign * array[..., i] for sign, i in self._axes], -1)
    length = np.linalg.norm(normal, axis=-1)
    usable = np.isfinite(length) & (length > 0)
    return normal / np.where(usable, length, 1)[..., None], usable

  def _read_face(self, index: int, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: face, hair and mouth; nearest pixels of the parts."""
    path = storage.join(self._face_parts, f"{self.name(index)}_seg.npy")
    found = files.load_array(path, "", np.integer)
    if found.ndim != 2:
      raise files.bad_labels(path, f"{found.shape}, expected (h, w)")
    is_face = np.isin(found, _FACE).astype(np.uint8)
    resized = cv2.resize(is_face, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized > 0

  def _read_intrinsics(self, index: int) -> np.ndarray:
    path = self._path(index, _INTRINSICS)
    data = files.read(path)
    try:
      matrix = np.loadtxt(io.StringIO(data.decode()), ndmin=2)
    except ValueError as error:
      raise files.bad_labels(path, f"no matrix: {error}") from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
      problem = f"{matrix.shape} numbers, expected (3, 3), all finite"
      raise files.bad_labels(path, problem)
    if min(matrix[0, 0], matrix[1, 1]) <= 0:
      raise files.bad_labels(path, "focal lengths must be above 0")
    return matrix.astype(np.float32)


def read_axes(axes: Sequence[str]) -> tuple[tuple[int, int], ...]:
  """Signs and indices of axes such as ("x", "-y", "-z").

  Raises:
    ValueError: not x, y and z in some order, each with at most a sign.
  """
  names = [axis.lstrip("+-") for axis in axes]
  signs = [axis[: -len(name)] for axis, name in zip(axes, names) if name]
  if sorted(names) != sorted(_AXES) or not set(signs) <= {"", "+", "-"}:
    raise ValueError(
      f"{','.join(axes)} are not the axes x, y and z in some order, each with "
      "or without a sign."
    )
  return tuple(
    (-1 if sign == "-" else 1, _AXES.index(name))
    for sign, name in zip(signs, names)
  )


def _find_maps(directory: str, maps: Sequence[str] | None) -> tuple[str, ...]:
  for name in maps or ():
    if name not in MAPS:
      raise ValueError(f"maps: {name} is none of {', '.join(MAPS)}.")
  if maps is None:
    places = {name: storage.join(directory, name) for name in MAPS}
    maps = [n for n, place in places.items() if storage.is_directory(place)]
  return tuple(maps)


def _list_files(directory: str, name: str) -> dict[str, str]:
  """Stem -> path of the files of one kind."""
  path = storage.join(directory, name)
  if not storage.is_directory(path):
    raise ValueError(f"{path}: no such directory.")
  found = files.index_stems(path, _EXTENSIONS.get(name, kinds.IMAGE_ENDINGS))
  return {stem: storage.join(path, file) for stem, file in found.items()}
