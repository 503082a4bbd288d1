"""Labels survive being stored, to the stated precision."""

import dataclasses
import functools

import msgpack
import numpy as np
import pytest

from data_pipelines.corpus import labels as labels_lib
from data_pipelines.corpus.labels import (
  Labels,
  Person,
  decode_labels,
  encode_labels,
)


@functools.cache
def example(size: tuple[int, int] = (48, 37)) -> Labels:
  rng = np.random.default_rng(0)
  mask = rng.random(size) < 0.6
  normal = rng.normal(size=(*size, 3)).astype(np.float32)
  normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
  keypoints = rng.uniform(0, 37, (labels_lib.NUM_KEYPOINTS, 3))
  keypoints[:, 2] = rng.integers(0, 3, labels_lib.NUM_KEYPOINTS)
  return Labels(
    people=(
      Person((1.0, 2.5, 40.0, 20.0), keypoints.astype(np.float32), 420.5),
      Person((2.0, 2.5, 10.0, 20.0), keypoints[:17].astype(np.float32)),
    ),
    alpha=np.where(mask, 200, 100).astype(np.uint8),
    parts=rng.integers(0, 29, size, np.uint8),
    normal=np.where(mask[..., None], normal, 0),
    depth=np.where(mask, rng.uniform(1, 9, size), 0).astype(np.float32),
    intrinsics=np.float32([[50, 0, 18], [0, 52, 24], [0, 0, 1]]),
    albedo=np.where(
      mask[..., None], rng.integers(0, 256, (*size, 3)), 0
    ).astype(np.uint8),
    foreground=rng.integers(0, 256, (*size, 3), np.uint8),
  )


def test_labels_survive_being_stored():
  labels = example()
  found = decode_labels(encode_labels(labels))
  for name in ("alpha", "parts", "intrinsics", "albedo", "foreground"):
    np.testing.assert_array_equal(getattr(found, name), getattr(labels, name))
  cosine = np.sum(found.normal * labels.normal, axis=-1)[labels.mask]
  assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 0.05
  assert not found.normal[~labels.mask].any()
  np.testing.assert_allclose(found.depth, labels.depth, atol=8 / 65535)
  for person, wanted in zip(found.people, labels.people, strict=True):
    assert (person.box, person.area) == (wanted.box, wanted.area)
    np.testing.assert_array_equal(person.keypoints, wanted.keypoints)


def test_only_what_is_asked_for_is_decoded():
  found = decode_labels(encode_labels(example()), ("depth",))
  assert found.depth is not None
  assert found.alpha is None and found.people is None


def test_arrays_of_other_packages_survive_too():
  extra = {
    "contact": np.arange(48 * 37 * 2, dtype=np.int32).reshape(48, 37, 2),
    "age": np.float32([31.5]),
  }
  given = dataclasses.replace(example(), extra=extra)
  found = decode_labels(encode_labels(given))
  assert set(found.extra) == set(extra)
  for name, array in extra.items():
    np.testing.assert_array_equal(found.get(name), array)
    assert found.get(name).dtype == array.dtype
  found = decode_labels(encode_labels(given), ("age", "alpha"))
  assert list(found.extra) == ["age"] and found.alpha is not None
  assert found.depth is None and found.get("contact") is None


@pytest.mark.parametrize(
  ("name", "array", "message"),
  [
    ("alpha", np.zeros(3, np.uint8), "alpha is the name of a field"),
    ("version", np.zeros(3, np.uint8), "version is the name of a field"),
    ("age", np.zeros(3), "age is float64, expected one of uint8, int8"),
    ("age", np.array(["a"]), "age is <U1, expected one of"),
  ],
)
def test_other_arrays_of_others_are_refused(name, array, message):
  with pytest.raises(ValueError, match=message):
    encode_labels(Labels(extra={name: array}))


def test_a_damaged_array_of_others_is_named():
  for bad in (
    3,
    {"age": 3},
    {"age": {"dtype": "<f4", "shape": [9], "data": b"1234"}},
    {"age": {"dtype": "|O", "shape": [1], "data": b"12345678"}},
  ):
    data = msgpack.packb({"version": "1.0", "extra": bad})
    with pytest.raises(
      ValueError, match="labels: field (extra|age) is damaged"
    ):
      decode_labels(data)


def test_a_person_of_no_pixels_has_maps_of_zeros():
  labels = dataclasses.replace(example(), alpha=np.zeros_like(example().alpha))
  found = decode_labels(encode_labels(labels))
  assert not found.depth.any() and not found.normal.any()


def test_pointmap_projects_back_onto_its_pixels():
  labels = example()
  points = labels.pointmap()[labels.mask] @ labels.intrinsics.T
  rows, cols = np.nonzero(labels.mask)
  pixels = points[:, :2] / points[:, 2:]
  np.testing.assert_allclose(pixels, np.stack([cols, rows], -1), atol=1e-3)


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"\xc1", "not a msgpack map"),
    (b"\x01", "not a map but int"),
    (b"\x81\xa7version\xa39.0", "newer than"),
  ],
)
def test_other_bytes_are_refused(data, message):
  with pytest.raises(ValueError, match=message):
    decode_labels(data)


def test_a_map_of_another_size_is_refused():
  labels = dataclasses.replace(example(), depth=np.zeros((3, 4), np.float32))
  with pytest.raises(ValueError, match=r"depth is \(3, 4\), expected \(48, 37"):
    encode_labels(labels)


def test_a_picture_with_other_channels_is_refused():
  data = encode_labels(Labels(alpha=example().foreground))
  with pytest.raises(ValueError, match="alpha is damaged .*channels=1"):
    decode_labels(data)


def test_a_damaged_field_is_named():
  labels = Labels(alpha=example().alpha)
  data = encode_labels(labels).replace(b"PNG", b"GNP")
  with pytest.raises(ValueError, match="field alpha is damaged"):
    decode_labels(data)
