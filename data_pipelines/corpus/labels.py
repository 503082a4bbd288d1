"""What is known about the people in an image: targets of the human tasks.

Maps have the image's height and width. They are stored for the pixels of
people only, as differences of neighbours in planes of bytes: the shard's own
compression then finds them small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import cv2
import msgpack
import numpy as np

from data_pipelines.corpus import records

VERSION = "1.0"  # MAJOR.MINOR; a reader accepts any MINOR of its MAJOR.
NUM_KEYPOINTS = 308
IGNORE = 255  # a part that is not known
# Fields of labels that have the height and width of the image.
MAPS = ("alpha", "parts", "normal", "depth", "albedo", "foreground")
# Of labels of other packages: what OpenCV can resize.
EXTRA_DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32")
_STEPS = 65535  # of a 16-bit number
# Runs of equal pixels: four times as fast as the default, and smaller.
_PNG_SETTINGS = (
  *(cv2.IMWRITE_PNG_COMPRESSION, 1),
  *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
  *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Person:
  """One person.

  Attributes:
    box: top, left, height, width in pixels.
    keypoints: (k, 3) float32, k = 308 or, for COCO's own people, 17: x and y
      in pixels, 0 at the centre of the first one; and 0 not labelled, 1
      occluded, 2 visible.
    area: pixels of the person as an annotator outlined it, which COCO's OKS
      divides by; None if nobody did.
  """

  box: records.Box
  keypoints: np.ndarray
  area: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
  """Of one image; None is what nobody knows.

  Attributes:
    people: the largest first.
    alpha: (h, w) uint8, how much of a pixel people cover; their mask is
      alpha >= 128.
    parts: (h, w) uint8, body parts 0 to 28, or 255.
    normal: (h, w, 3) float32 unit vectors in the camera's frame: x right, y
      up, z towards the camera (ours); 0 outside the mask.
    depth: (h, w) float32, metres away from the camera's plane; 0 outside.
    intrinsics: (3, 3) float32, in pixels, 0 at the centre of the first one.
    albedo: (h, w, 3) uint8 sRGB; 0 outside the mask.
    foreground: (h, w, 3) uint8 sRGB, the people's own colours, not multiplied
      by alpha; 0 where alpha is 0.
    extra: arrays of other packages by their names, of `EXTRA_DTYPES`. A task
      needs them by name, as it needs fields. Those of the image's height and
      width are resized (nearest), cut and mirrored with it; whatever else a
      mirror changes in them is their task's.
  """

  people: tuple[Person, ...] | None = None
  alpha: np.ndarray | None = None
  parts: np.ndarray | None = None
  normal: np.ndarray | None = None
  depth: np.ndarray | None = None
  intrinsics: np.ndarray | None = None
  albedo: np.ndarray | None = None
  foreground: np.ndarray | None = None
  extra: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def get(self, name: str):
    """A field or an extra array; None if it is not known."""
    return getattr(self, name) if name in _FIELDS else self.extra.get(name)

  def replace(self, **changed) -> Labels:
    """These labels with other fields and extra arrays."""
    extra = {k: v for k, v in changed.items() if k not in _FIELDS}
    fields = {k: v for k, v in changed.items() if k in _FIELDS}
    return dataclasses.replace(self, extra={**self.extra, **extra}, **fields)

  @property
  def mask(self) -> np.ndarray:
    """(h, w) bool: people."""
    if self.alpha is None:
      raise ValueError("labels: alpha is missing, so there is no mask.")
    return self.alpha >= 128

  def pointmap(self) -> np.ndarray:
    """(h, w, 3) float32 metres: x right, y down, z away from the camera."""
    if self.depth is None or self.intrinsics is None:
      raise ValueError("labels: a pointmap needs depth and intrinsics.")
    rows, cols = np.indices(self.depth.shape, np.float32)
    k = self.intrinsics
    x = (cols - k[0, 2]) * self.depth / k[0, 0]
    y = (rows - k[1, 2]) * self.depth / k[1, 1]
    return np.stack([x, y, self.depth], axis=-1)


_FIELDS = tuple(
  field.name for field in dataclasses.fields(Labels) if field.name != "extra"
)


def encode_labels(labels: Labels) -> bytes:
  """Serialises labels; normals to 0.01 degrees, depth to 16 bits.

  Raises:
    ValueError: normal, depth or albedo without alpha, or of another size; an
      extra array with the name of a field, or of another type.
  """
  fields: dict[str, object] = {"version": VERSION}
  if labels.people is not None:
    fields["people"] = [
      {
        "box": list(map(float, person.box)),
        "keypoints": np.asarray(person.keypoints, "<f4").tobytes(),
        "area": None if person.area is None else float(person.area),
      }
      for person in labels.people
    ]
  for name in _PICTURES:
    array = getattr(labels, name)
    if array is not None:
      fields[name] = _encode_png(array)
  if labels.intrinsics is not None:
    fields["intrinsics"] = np.asarray(labels.intrinsics, "<f4").tobytes()
  places = None
  for name, quantise in _QUANTISERS.items():
    array = getattr(labels, name)
    if array is None:
      continue
    if places is None:
      mask = labels.mask
      places = np.flatnonzero(mask)
    if array.shape[:2] != mask.shape:
      raise ValueError(
        f"labels: {name} is {array.shape[:2]}, expected {mask.shape}."
      )
    pixels = array.reshape(mask.size, *array.shape[2:])
    fields[name] = quantise(pixels.take(places, axis=0))
  if labels.extra:
    fields["extra"] = {k: _encode_extra(k, v) for k, v in labels.extra.items()}
  return msgpack.packb(fields)


def decode_labels(data: bytes, what: tuple[str, ...] | None = None) -> Labels:
  """Reads back what `encode_labels` wrote.

  Args:
    data: of `Record.labels`.
    what: fields and extra arrays to decode, None for all; the others stay
      None.

  Raises:
    ValueError: not labels, a newer MAJOR version or a damaged field; the
      message names it.
  """
  try:
    fields = msgpack.unpackb(data)
  except (ValueError, msgpack.UnpackException) as error:
    raise ValueError(f"labels: not a msgpack map ({error}).") from error
  if not isinstance(fields, dict):
    raise ValueError(f"labels: not a map but {type(fields).__name__}.")
  records.check_version(fields.get("version"), "labels")
  extra = fields.get("extra", {})
  if not isinstance(extra, dict):
    raise ValueError("labels: field extra is damaged (no map).")
  names = (*_FIELDS, *extra)
  wanted = names if what is None else what
  fields, found = {**extra, **fields}, {}
  mask = None
  for name in names:
    if name not in fields or (name not in wanted and name != "alpha"):
      continue
    try:
      found[name] = _decode_field(name, fields[name], mask)
    except (KeyError, TypeError, ValueError, cv2.error) as error:
      raise ValueError(f"labels: field {name} is damaged ({error}).") from error
    if name == "alpha":
      mask = found[name] >= 128
  return Labels().replace(**{k: found[k] for k in wanted if k in found})


def _decode_field(name: str, value, mask: np.ndarray | None):
  if name == "people":
    return tuple(
      Person(
        tuple(person["box"]),
        np.frombuffer(person["keypoints"], "<f4").reshape(-1, 3).copy(),
        person.get("area"),
      )
      for person in value
    )
  if name in _PICTURES:
    return _decode_png(value, _PICTURES[name])
  if name == "intrinsics":
    return np.frombuffer(value, "<f4").reshape(3, 3).copy()
  if name not in _FIELDS:
    return _decode_extra(value)
  pixels = _RESTORERS[name](value)
  out = np.zeros((*mask.shape, *pixels.shape[1:]), pixels.dtype)
  out[mask] = pixels
  return out


def _encode_extra(name: str, array: np.ndarray) -> dict:
  if name in (*_FIELDS, "extra", "version"):
    raise ValueError(f"labels: extra: {name} is the name of a field.")
  if array.dtype.name not in EXTRA_DTYPES:
    raise ValueError(
      f"labels: extra: {name} is {array.dtype}, expected one of "
      f"{', '.join(EXTRA_DTYPES)}."
    )
  dtype = array.dtype.newbyteorder("<")
  data = np.ascontiguousarray(array, dtype).tobytes()
  return {"dtype": dtype.str, "shape": list(array.shape), "data": data}


def _decode_extra(value: dict) -> np.ndarray:
  dtype = np.dtype(value["dtype"])
  if dtype.name not in EXTRA_DTYPES:
    raise ValueError(f"{dtype} pixels")
  return np.frombuffer(value["data"], dtype).reshape(value["shape"]).copy()


def _encode_png(array: np.ndarray) -> bytes:
  return cv2.imencode(".png", array, _PNG_SETTINGS)[1].tobytes()


def _decode_png(data: bytes, channels: int) -> np.ndarray:
  array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
  shape = () if array is None else array.shape[2:] or (1,)
  if shape != (channels,) or array.dtype != np.uint8:
    raise ValueError(f"not an 8-bit PNG with channels={channels}")
  return array


def _pack(*columns: np.ndarray) -> bytes:
  """Columns (n,) of uint8 or uint16 as differences, one plane a byte; exact."""
  planes = []
  for column in columns:
    steps = column.copy()
    steps[1:] -= column[:-1]
    planes.append(steps.astype(np.uint8))
    if steps.itemsize == 2:
      planes.append((steps >> 8).astype(np.uint8))
  return b"".join(plane.tobytes() for plane in planes)


def _unpack(data: bytes, dtype: str, channels: int) -> np.ndarray:
  size = np.dtype(dtype).itemsize * channels
  planes = np.frombuffer(data, np.uint8).reshape(size, -1)
  steps = np.ascontiguousarray(planes.T).view(dtype)
  return np.cumsum(steps, axis=0, dtype=dtype)


def _quantise_normal(vectors: np.ndarray) -> bytes:
  """Onto an octahedron, unfolded into a square of 16 bits a side."""
  x, y, z = np.ascontiguousarray(vectors.T)
  scale = 1 / np.maximum(np.abs(x) + np.abs(y) + np.abs(z), 1e-12)
  x, y = x * scale, y * scale
  below = np.flatnonzero(z < 0)  # Few, of what a camera sees.
  u, v = x[below], y[below]
  x[below] = np.copysign(1 - np.abs(v), u)
  y[below] = np.copysign(1 - np.abs(u), v)
  flat = (np.rint((side + 1) * (_STEPS / 2)) for side in (x, y))
  return _pack(*(side.astype(np.uint16) for side in flat))


def _restore_normal(data: bytes) -> np.ndarray:
  x, y = _unpack(data, "<u2", 2).T.astype(np.float32) * (2 / _STEPS) - 1
  z = 1 - np.abs(x) - np.abs(y)
  fold_x, fold_y = np.copysign(1 - np.abs(y), x), np.copysign(1 - np.abs(x), y)
  out = np.stack([np.where(z >= 0, x, fold_x), np.where(z >= 0, y, fold_y), z])
  return (out / np.sqrt((out * out).sum(0))).T


def _quantise_depth(depth: np.ndarray) -> dict:
  low, high = (float(depth.min()), float(depth.max())) if depth.size else (0, 0)
  scale = _STEPS / max(high - low, 1e-6)
  steps = np.rint((depth - low) * scale).astype(np.uint16)
  return {"low": low, "high": high, "steps": _pack(steps)}


def _restore_depth(value: dict) -> np.ndarray:
  low, high = value["low"], value["high"]
  steps = _unpack(value["steps"], "<u2", 1)[:, 0].astype(np.float32)
  return low + steps * np.float32(max(high - low, 1e-6) / _STEPS)


# Stored as PNG -> channels, in whatever order they are in.
_PICTURES = {"alpha": 1, "parts": 1, "foreground": 3}
_QUANTISERS = {
  "normal": _quantise_normal,
  "depth": _quantise_depth,
  "albedo": lambda colors: _pack(*np.ascontiguousarray(colors.T)),
}
_RESTORERS = {
  "normal": _restore_normal,
  "depth": _restore_depth,
  "albedo": lambda data: _unpack(data, "u1", 3),
}
