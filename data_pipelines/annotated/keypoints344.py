"""Pose training lists: 344 points a person in a file, or 70 in the list.

The 344 are the 308 and 36 points of teeth, which are removed; the 70 are
their first. The public Sapiens2 release trains on such lists.
"""

from __future__ import annotations

import numpy as np

from data_pipelines.annotated import files, labelled, lists
from data_pipelines.common import images, storage
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Labels, Person
from data_pipelines.vocabulary import keypoints

NUM_POINTS = 344
NUM_FIRST = 70
_NUM_BODY = 21  # Without hands, face and inner joints.
_GREY_SIZE = (64, 64)  # A JPEG says at an eighth of its size if it is grey.


class KeypointFilesSource(labelled.LabelledSource):
  """One person an image; `KEYPOINTS/<sample_id>.npy` is (3, 344): x, y, v.

  A point counts if v > 0 and it lies strictly inside the image. The box is
  the extent of these points, of the whole image if there are none. Images
  with too few points, and grey ones, are left out when they are read.
  """

  def __init__(
    self,
    path: str,
    *,
    images: str,
    keypoints: str,
    min_visible: int = 8,
    min_body: int = 6,
    keep_grey: bool = False,
    exif: str | None = None,
  ):
    """Reads the list, and lists both directories.

    Args:
      path: a JSON list of objects with `sample_id` or `airstore_id`.
      images: directory of `<sample_id>.jpg`, .png and so on.
      keypoints: directory of the arrays.
      min_visible: fewest points that count, of all.
      min_body: fewest of the points 0 to 20.
      keep_grey: take images without colours as well.
      exif: see `LabelledSource`; nothing else tells which way up points are.

    Raises:
      ValueError: unreadable, entries of another form, or a file is missing:
        all are listed.
    """
    ids = [sample["sample_id"] for sample in lists.read_samples(path)]
    names = lists.find_files(path, ids, images)
    arrays = lists.find_files(path, ids, keypoints, (".npy",))
    paths = [storage.join(images, name) for name in names]
    super().__init__(paths, names, exif)
    self._arrays = [storage.join(keypoints, name) for name in arrays]
    self._fewest = min_visible, min_body
    self._keep_grey = keep_grey

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """Reads the array of the one person."""
    path = self._arrays[index]
    points = files.load_array(path, "", np.number)
    if points.shape != (expected := (3, NUM_POINTS)):
      raise files.bad_labels(path, f"{points.shape}, expected {expected}")
    if not self._keep_grey and _is_grey(record.image):
      raise images.ImageDecodeError("grey image", self.name(index))
    known = points[:2, points[2] > 0].T
    if files.are_fractions(known[np.isfinite(known).all(1)]):
      raise files.bad_labels(path, "points lie in [0, 1], expected pixels")
    person = make_person(points.T, record.height, record.width)
    visible = person.keypoints[:, 2] > 0
    counts = visible.sum(), visible[:_NUM_BODY].sum()
    if any(count < least for count, least in zip(counts, self._fewest)):
      raise images.ImageDecodeError("too few keypoints", path)
    return Labels(people=(person,))


class KeypointListSource(labelled.LabelledSource):
  """70 points a person, written in the list; nothing is left out.

  Samples of one image become people of one record.
  """

  def __init__(self, path: str, *, images: str, exif: str | None = None):
    """Reads the list, and lists the directory.

    Args:
      path: a JSON list of objects with `sample_id` or `airstore_id`,
        `person_id`, and `keypoints_2d`: 70 times x, y, v.
      images: directory of `<sample_id>.jpg`, .png and so on.
      exif: as of `KeypointFilesSource`.

    Raises:
      ValueError: as `KeypointFilesSource`.
    """
    people, problem = {}, f"keypoints_2d is not {NUM_FIRST} times x, y, v"
    samples = lists.read_samples(path, ["person_id"])
    with files.problems_of(path) as add:
      for number, sample in enumerate(samples):
        points = _read_points(sample.get("keypoints_2d"))
        if points is None:
          add(f"[{number}]", problem)
        elif files.are_fractions(points[points[:, 2] > 0, :2]):
          add(f"[{number}]", "keypoints_2d lie in [0, 1], expected pixels")
        people.setdefault(sample["sample_id"], []).append(points)
    names = lists.find_files(path, list(people), images)
    paths = [storage.join(images, name) for name in names]
    super().__init__(paths, names, exif)
    self._points = list(people.values())

  def read_labels(self, index: int, record: records.Record) -> Labels:
    """The people that the list has for this image."""
    size = record.height, record.width
    people = [make_person(points, *size) for points in self._points[index]]
    people.sort(key=lambda person: -person.box[2] * person.box[3])
    return Labels(people=tuple(people))


def _read_points(given: object) -> np.ndarray | None:
  """(70, 3) float64, infinite where numbers are too large; None if not so."""
  rows = given if isinstance(given, list) else []
  points = [files.to_numbers(row) for row in rows]
  shapes = [None if row is None else row.shape for row in points]
  return np.stack(points) if shapes == [(3,)] * NUM_FIRST else None


def make_person(points: np.ndarray, height: int, width: int) -> Person:
  """Makes a person of the 344 points, or of the first 70 of them.

  Args:
    points: (n, 3) x, y in pixels and visibility; not finite is invisible.
    height: of the image.
    width: of the image.
  """
  whole = np.zeros((NUM_POINTS, 3), np.float64)
  whole[: len(points)] = points
  found = whole[keypoints()["source_344"]["kept_ids_in_order"]]
  x, y, visibility = found.T
  counts = (visibility > 0) & np.isfinite(found).all(1)
  counts &= (x > 0) & (x < width) & (y > 0) & (y < height)
  out = np.zeros((NUM_KEYPOINTS, 3), np.float32)
  out[counts, :2] = found[counts, :2]
  out[counts, 2] = 2
  box = (0.0, 0.0, float(height), float(width))
  if counts.any():
    left, top = out[counts, :2].min(0)
    right, bottom = out[counts, :2].max(0)
    box = tuple(map(float, (top, left, bottom - top, right - left)))
  return Person(box, out)


def _is_grey(image: bytes) -> bool:
  pixels = images.decode_image(image, min_size=_GREY_SIZE)
  return bool((pixels == pixels[..., :1]).all())
