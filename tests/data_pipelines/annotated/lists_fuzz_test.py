"""Mistakes in lists and arrays of the other formats: named, or harmless."""

import collections
import io
import random

import numpy as np
import pytest

from data_pipelines.annotated import files, keypoints344, matting, parts
from data_pipelines.common.images import ImageDecodeError
from data_pipelines.corpus import records
from data_pipelines.corpus.labels import decode_labels
from tests.data_pipelines.annotated import coco_fuzz, made

SIZE = (30, 50)
LISTS = {
  "matting": {"image": "images/{}.png", "mask": "masks/{}.png"},
  "keypoints70": {
    **{"sample_id": "{}", "person_id": 0},
    "keypoints_2d": [[5, 6, 2]] * 70,
  },
  "keypoints344": {"sample_id": "{}"},
  "parts": {
    **{"sample_id": "{}", "session_id": "s"},
    **{"camera_id": 1, "frame_number": 2},
  },
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  found = tmp_path_factory.mktemp("fuzz")
  mask = np.zeros(SIZE, np.uint8)
  mask[5:25, 5:40] = 255
  for number in range(2):
    made.write_image(found / f"images/{number}.png", SIZE, number)
    made.write_pixels(found / f"masks/{number}.png", mask)
    made.write_pixels(found / f"labels/{number}.png", mask // 85)
    points = np.full((3, 344), 9, np.float32)
    made.write_array(found / f"points/{number}.npy", points)
  return found


def open_list(kind, path, directory):
  given = {"images": str(directory / "images")}
  if kind == "matting":
    return matting.MattingSource(path)
  if kind == "keypoints70":
    return keypoints344.KeypointListSource(path, **given)
  if kind == "keypoints344":
    points = str(directory / "points")
    return keypoints344.KeypointFilesSource(path, **given, keypoints=points)
  labels = str(directory / "labels")
  return parts.PartsSource(path, **given, labels=labels, taxonomy="sapiens29")


@pytest.mark.parametrize("kind", LISTS)
def test_lists_are_refused_or_give_labels(kind, directory):
  outcomes = collections.Counter()
  path = directory / "list.json"
  for seed in range(60):
    rng = random.Random(seed)
    entries = [
      {k: v.format(n) if type(v) is str else v for k, v in LISTS[kind].items()}
      for n in range(2)
    ]
    document = {"list": entries}
    for _ in range(rng.randint(0, 2)):
      if "list" in document:
        coco_fuzz.change(document, rng)
    data = coco_fuzz.to_bytes(document.get("list"))
    path.write_bytes(data.replace(b"http://", b""))  # Nobody is asked.
    try:
      source = open_list(kind, str(path), directory)
    except ValueError as error:
      assert str(path) in str(error), seed
      outcomes["refused"] += 1
      continue
    for index in range(len(source)):
      try:
        record = source[index]
      except ImageDecodeError:
        outcomes["left out"] += 1
        continue
      records.encode_record(record)
      for person in decode_labels(record.labels).people or ():
        assert np.isfinite(person.keypoints).all(), seed
      outcomes["read"] += 1
  assert outcomes["refused"] and outcomes["read"]


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_damaged_arrays_are_named(ending, tmp_path):
  stream = io.BytesIO()
  array = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
  if ending == "npy":
    np.save(stream, array)
  else:
    np.savez_compressed(stream, normal=array)
  path, refused = tmp_path / f"a.{ending}", 0
  for seed in range(200):
    path.write_bytes(coco_fuzz.damage(stream.getvalue(), random.Random(seed)))
    try:
      found = files.load_array(str(path), "normal", np.floating)
    except ImageDecodeError as error:
      assert str(path) in error.detail, seed
      refused += 1
      continue
    assert np.issubdtype(found.dtype, np.floating)
  assert refused > 50
