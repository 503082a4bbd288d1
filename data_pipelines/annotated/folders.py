"""Folders of maps joined by file stem: normals, depth, albedo."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.annotated import files, geometry, labelled, pictures
from data_pipelines.common import images, kinds, storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels

MAPS = ("normal", "depth", "albedo")
# Of normals in pictures -> bits of a level; the lowest is -1, the highest 1.
ENCODINGS = {"rgb8": 8, "rgb16": 16}
_INTRINSICS = "camera_intrinsics"
_ARRAYS = (".npy", ".npz")
_MIN_PIXELS = 10  # Of a mask.
# Face, hair, lips, teeth and tongue of the 28-class labels.
_FACE = (2, 3, 23, 24, 25, 26, 27)


class FoldersSource(labelled.LabelledSource):
  """Images of `rgb/` with `mask/` and any of `normal/ depth/ albedo/`.

  Files belong together by their stems, and so does `camera_intrinsics/` with
  `depth/`; `camera_extrinsics/` is not read. A pixel is in the mask if its
  level is at least half of the range (see `pictures.read_matte`) and all maps
  are usable there: neither NaN nor infinite, no normal of length 0, no depth
  that is not above 0. Normals are made unit vectors. An image with a missing
  file, or with fewer than 10 pixels of mask, is left out when it is read; so is
  one whose depth cannot be metres, or whose normals are no unit vectors.
  """

  def __init__(
    self,
    directory: str,
    *,
    maps: Sequence[str] | None = None,
    axes: Sequence[str] = geometry.AXES,
    face_parts: str | None = None,
    normal: str | None = None,
    depth_scale: float | None = None,
    exif: str | None = None,
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
      normal: one of `ENCODINGS`: normals are PNGs, level v of the highest n
        is 2 v / n - 1; None: .npy or .npz of floats.
      depth_scale: metres of a unit in the files of depth, which may be PNGs
        of 16 bits and arrays of whole numbers then; None: .npy or .npz of
        float metres.
      exif: see `LabelledSource`.

    Raises:
      ValueError: a directory is missing or cannot be listed, has no file of
        the expected endings, no image has a mask, or no such map or axes.
    """
    self._axes = geometry.read_axes(axes)
    self._maps = _find_maps(directory, maps)
    self._face_parts = face_parts
    self._normal, self._depth_scale = normal, depth_scale
    wanted = ["rgb", "mask", *self._maps]
    wanted += [_INTRINSICS] if "depth" in self._maps else []
    endings = {
      "rgb": kinds.IMAGE_ENDINGS,
      "mask": kinds.IMAGE_ENDINGS,
      "albedo": kinds.IMAGE_ENDINGS,
      "normal": (".png",) if normal else _ARRAYS,
      "depth": (*_ARRAYS, *((".png",) if depth_scale else ())),
      _INTRINSICS: (".txt",),
    }
    self._files, notes = {}, []
    for name in wanted:
      others = kinds.LeftOut()
      found = _list_files(directory, name, endings[name], others)
      self._files[name] = found
      if others.counts:
        notes.append(f"{directory}/{name}: left out {others.describe()}")
    self.notes = tuple(notes)
    stems = sorted(self._files["rgb"])
    if not set(stems) & set(self._files["mask"]):
      raise ValueError(f"{directory}: no stem of rgb/ is one of mask/.")
    super().__init__([self._files["rgb"][stem] for stem in stems], stems, exif)

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The mask, and all maps inside it."""
    path = self._path(index, "mask")
    mask = pictures.read_mask(path)
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
    if "depth" in maps:
      geometry.check_depth(
        maps["depth"][mask], self._path(index, "depth"), "say depth_scale=0.001"
      )
      camera_path = self._path(index, _INTRINSICS)
      maps["intrinsics"] = geometry.read_intrinsics(camera_path, mask.shape)
    if "normal" in maps:
      found, normal_path = maps["normal"], self._path(index, "normal")
      maps["normal"] = self._unit_normals(found, mask, normal_path)
    for name in self._maps:
      maps[name][~mask] = 0
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
      data = files.read(path)
      if images.read_header(data)[1] != 1:
        raise files.bad_labels(path, "is turned by EXIF; write it without")
      albedo = images.decode_image(data).copy()
      return albedo, np.ones(albedo.shape[:2], bool)
    if name == "depth":
      depth = self._read_depth(path)
      return depth, np.isfinite(depth) & (depth > 0)
    if self._normal is not None:
      bits = ENCODINGS[self._normal]
      levels = pictures.read_coded(path, bits, 3)
      array = levels.astype(np.float32) * np.float32(2 / (2**bits - 1)) - 1
    else:
      array = files.load_array(path, name, np.floating).astype(np.float32)
    if array.ndim != 3 or array.shape[2] != 3:
      raise files.bad_labels(path, f"{array.shape}, expected (h, w, 3)")
    length = np.linalg.norm(array, axis=-1)
    return array, np.isfinite(length) & (length > 0)

  def _read_depth(self, path: str) -> np.ndarray:
    """(h, w) float32 metres."""
    if path.lower().endswith(".png"):
      depth = pictures.read_coded(path, 16, 1)[..., 0]
    else:
      kind = np.floating if self._depth_scale is None else np.number
      depth = files.load_array(path, "depth", kind)
    if depth.ndim != 2:
      raise files.bad_labels(path, f"{depth.shape}, expected (h, w)")
    return depth.astype(np.float32) * np.float32(self._depth_scale or 1)

  def _unit_normals(
    self, found: np.ndarray, mask: np.ndarray, path: str
  ) -> np.ndarray:
    # Levels of a picture say their range; one wall may be above 0.
    may_be_positive = self._normal is not None
    geometry.check_normals(
      found[mask], path, self._normal_advice(), may_be_positive
    )
    return geometry.unit_normals(found, mask, self._axes)

  def _normal_advice(self) -> str:
    if self._normal:
      return f"of normal={self._normal} level v of n is 2 v / n - 1"
    return (
      "of [0, 1] or [0, 255], take 2 v / max - 1 first, or write PNG and say "
      f"normal={'|'.join(ENCODINGS)}"
    )

  def _read_face(self, index: int, size: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: face, hair and mouth; nearest pixels of the parts."""
    path = storage.join(self._face_parts, f"{self.name(index)}_seg.npy")
    found = files.load_array(path, "", np.integer)
    if found.ndim != 2:
      raise files.bad_labels(path, f"{found.shape}, expected (h, w)")
    is_face = np.isin(found, _FACE).astype(np.uint8)
    resized = cv2.resize(is_face, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized > 0


def _find_maps(directory: str, maps: Sequence[str] | None) -> tuple[str, ...]:
  for name in maps or ():
    if name not in MAPS:
      raise ValueError(f"maps: {name} is none of {', '.join(MAPS)}.")
  if maps is None:
    places = {name: storage.join(directory, name) for name in MAPS}
    maps = [n for n, place in places.items() if storage.is_directory(place)]
  return tuple(maps)


def _list_files(
  directory: str, name: str, endings: Sequence[str], others: kinds.LeftOut
) -> dict[str, str]:
  """Stem -> path of the files of one kind; `others` is told of the rest."""
  path = storage.join(directory, name)
  if not storage.is_directory(path):
    raise ValueError(f"{path}: no such directory.")
  found = files.index_stems(path, endings, others)
  if not found:
    hints = {
      "normal": f"; for PNG say normal={'|'.join(ENCODINGS)}",
      "depth": "; for PNG say depth_scale=METRES, such as 0.001",
    }
    raise ValueError(
      f"{path}: holds no file that ends in {' '.join(endings)}"
      f"{hints.get(name, '')}."
    )
  return {stem: storage.join(path, file) for stem, file in found.items()}
