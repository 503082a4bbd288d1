"""COCO files with mistakes of any kind, made by a seed."""

from __future__ import annotations

import copy
import json
import pathlib
import random

import numpy as np

from data_pipelines.annotated import coco
from data_pipelines.common.images import ImageDecodeError
from data_pipelines.corpus.labels import NUM_KEYPOINTS, Person, decode_labels
from data_pipelines.vocabulary import keypoints
from tests.data_pipelines.annotated import made

SIZE = (30, 50)
_BODY = [keypoints()["names"][i] for i in keypoints()["groups"]["body17"]]
_LONG = "9" * 5000
# Text that JSON has for these values of Python.
_RAW = {
  "@inf": "Infinity",
  "@nan": "NaN",
  "@huge": "1e400",
  "@digits": _LONG,
  "@deep": "[" * 3000 + "]" * 3000,
  "@surrogate": '"\\ud800"',
}
_VALUES = (
  *(None, True, False, 0, 1, -1, 2, 17, 2**31, 2**63, 10**400, -(10**400)),
  *(0.5, -0.0, 1e-320, 1e38, 1e39, 1e300, -1e300, 1.0, 30.0, 50.0),
  *("", "1", "person", "nose", "a\0b", "../x", "http://a/b", "\udc80", "é"),
  *([], {}, [[]], [None], ["a"], [1, [2]], {"id": 1}, *_RAW),
)


def write_images(directory: pathlib.Path) -> None:
  """The four photographs that the files name."""
  for number in range(4):
    made.write_image(directory / f"{number}.png", SIZE, number)


def make_file(seed: int) -> bytes:
  """A file of four images and some people, with one to four mistakes.

  The person of each image is right where nothing was changed: its points are
  those of `expected`.
  """
  rng = random.Random(seed)
  order = rng.sample(_BODY, 17)
  document = {
    "images": [
      {"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]}
      for i in range(4)
    ],
    "annotations": [_annotate(i, order) for i in range(4)],
    "categories": [
      {"id": 1, "name": "person", "keypoints": order},
      {"id": 2, "name": "dog", "keypoints": ["tail"]},
    ],
    "licenses": [{"id": 1, "name": "CC0", "url": "x"}],
  }
  for _ in range(rng.randint(1, 4)):
    change(document, rng)
  data = to_bytes(document)
  if rng.random() < 0.1:
    data = damage(data, rng)
  return b"\xef\xbb\xbf" + data if rng.random() < 0.1 else data


def to_bytes(document: object) -> bytes:
  """JSON, with what JSON has no value for."""
  text = json.dumps(document)
  for name, raw in _RAW.items():
    text = text.replace(f'"{name}"', raw)
  return text.encode("utf-8", "surrogatepass")


def expected(number: int) -> np.ndarray:
  """(17, 3): the body of the person of an image, in COCO's order."""
  found = np.random.default_rng(number).integers(2, 28, (17, 3))
  found[:, 2] = 2
  return found


def judge(data: bytes, directory: pathlib.Path) -> str:
  """Reads a file; says whether it was refused, or how many labels it gave.

  Raises:
    AssertionError: labels that are none: not finite, or beyond the image; or
      not those that stand in the file.
    Exception: any that a reader must not raise.
  """
  path = directory / "ann.json"
  path.write_bytes(data)
  try:
    source = coco.CocoSource(str(path), images=str(directory))
  except ValueError as error:
    assert str(path) in str(error), f"names no file: {error}"
    return "refused"
  whole, left_out = 0, 0
  for index in range(len(source)):
    try:
      record = source[index]
    except ImageDecodeError as error:
      assert error.reason
      left_out += 1
      continue
    people = decode_labels(record.labels).people
    _check(people)
    stated = _read_plainly(json.loads(data.decode("utf-8-sig")), record.name)
    for person in people:
      assert any(np.array_equal(person.keypoints, one) for one in stated)
    whole += len(people)
  return f"read, {left_out} left out" if left_out else f"read {whole}"


def _read_plainly(document: dict, name: str) -> list[np.ndarray]:
  """Keypoints of the people of an image, by what the file says of names."""
  (number,) = (i["id"] for i in document["images"] if i["file_name"] == name)
  categories = document.get("categories") or [{"id": None, "name": "person"}]
  names = keypoints()["names"]
  people = []
  for entry in document["annotations"]:
    for category in categories:
      is_its = category["id"] in (None, entry.get("category_id"))
      if entry["image_id"] != number or not is_its:
        continue
      if category["name"].lower() != "person" or not entry.get("keypoints"):
        continue
      found = np.zeros((NUM_KEYPOINTS, 3), np.float32)
      rows = np.float32(entry["keypoints"]).reshape(-1, 3)
      for point, row in zip(category.get("keypoints") or _BODY, rows):
        if point in names:
          seen = 0 if row[2] <= 0 else 1 if row[2] == 1 else 2
          found[names.index(point)] = (*row[:2], seen)
      people.append(found)
  return people


def _check(people: tuple[Person, ...]) -> None:
  assert people
  for person in people:
    points, box = person.keypoints, np.array(person.box)
    assert points.shape == (NUM_KEYPOINTS, 3) and points.dtype == np.float32
    assert np.isfinite(points).all() and np.isfinite(box).all()
    assert set(np.unique(points[:, 2])) <= {0, 1, 2}
    assert np.abs(points).max() <= 2**20
    assert box.min() >= 0 and (box[:2] + box[2:] < SIZE).all()
    assert (box[2:] > 0).all()
    assert person.area is None or 0 < person.area < 1e12


def _annotate(number: int, order: list[str]) -> dict:
  points = dict(zip(_BODY, expected(number).tolist()))
  return {
    **{"id": number, "image_id": number, "category_id": 1, "iscrowd": 0},
    **{"bbox": [1, 1, 40, 27], "area": 300.0, "num_keypoints": 17},
    "keypoints": [value for name in order for value in points[name]],
  }


def change(document: dict, rng: random.Random) -> None:
  """Makes one mistake somewhere, more often near the leaves."""
  parent, key = document, rng.choice(list(document))
  while isinstance(parent[key], dict | list) and parent[key]:
    if rng.random() < 0.15:
      break
    parent = parent[key]
    keys = list(parent) if isinstance(parent, dict) else range(len(parent))
    key = rng.choice(keys)
  kind = rng.randrange(6)
  if kind == 0:
    del parent[key]
  elif kind == 1 and isinstance(parent, list):
    parent.insert(key, copy.deepcopy(rng.choice(parent)))
  elif kind == 2 and type(parent[key]) in (int, float):
    parent[key] = float(str(parent[key])[:9])
    parent[key] = parent[key] * rng.choice((-1, 1e3, 1e30, 1e307, 0.001))
  elif kind == 3 and isinstance(parent, dict):
    parent[rng.choice(list(parent))] = parent[key]
  else:
    parent[key] = copy.deepcopy(rng.choice(_VALUES))


def damage(data: bytes, rng: random.Random) -> bytes:
  """Cuts off, or changes a byte."""
  place = rng.randrange(len(data))
  if rng.random() < 0.5:
    return data[:place]
  return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
