"""Pose training lists: 344 points become 308, teeth leave."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.annotated import keypoints344
from data_pipelines.common import images
from data_pipelines.vocabulary import keypoints
from tests.data_pipelines.annotated import made

SIZE = (60, 45)


def array344(seed=0):
  """(3, 344), all visible inside the image."""
  rng = np.random.default_rng(seed)
  found = np.ones((3, 344), np.float32)
  found[0] = rng.uniform(1, SIZE[1] - 2, 344)
  found[1] = rng.uniform(1, SIZE[0] - 2, 344)
  return found


@pytest.fixture
def directory(tmp_path):
  """A list of samples b and 3, with their files."""
  for number, name in enumerate(("b", "3")):
    made.write_image(tmp_path / f"images/{name}.png", SIZE, number)
    made.write_array(tmp_path / f"points/{name}.npy", array344(number))
  samples = [{"sample_id": "b", "box-default": [1]}, {"airstore_id": 3}]
  made.write_json(tmp_path / "list.json", samples)
  return tmp_path


def our_name(name):
  """What a point of the 344 is called among the 308."""
  if "toe" in name:
    return name.removesuffix("_tip")
  for finger in ("thumb", "index", "middle", "ring", "pinky"):
    for joint, number in _JOINTS.items():
      side, known, found = name.partition(f"_{finger}_{joint}")
      if not known or found or side not in ("left", "right"):
        continue
      if finger == "thumb":
        return f"{side}_thumb{number or '_third_joint'}"
      ours = "forefinger" if finger == "index" else f"{finger}_finger"
      return f"{side}_{ours}{number or '_third_joint'}"
  return name


_JOINTS = {"tip": 4, "first_joint": 3, "second_joint": 2, "third_joint": ""}


def open_files(directory, **options):
  return keypoints344.KeypointFilesSource(
    str(directory / "list.json"),
    images=str(directory / "images"),
    keypoints=str(directory / "points"),
    **options,
  )


def open_list(directory):
  return keypoints344.KeypointListSource(
    str(directory / "list.json"), images=str(directory / "images")
  )


@given(st.sets(st.integers(0, 343), min_size=1))
@settings(max_examples=30)
def test_each_of_344_points_keeps_its_name(visible):
  names = keypoints()["source_344"]["names"]
  points = array344().T.copy()
  points[:, 2] = [number in visible for number in range(344)]
  found = keypoints344.make_person(points, *SIZE).keypoints
  wanted = {
    (our_name(names[number]), *points[number, :2].tolist())
    for number in visible
    if names[number] != "teeth"
  }
  ours = keypoints()["names"]
  shown = np.flatnonzero(found[:, 2])
  assert {(ours[i], *found[i, :2].tolist()) for i in shown} == wanted


def test_the_index_map_drops_teeth_only():
  source = keypoints()["source_344"]
  kept = [source["names"][number] for number in source["kept_ids_in_order"]]
  assert list(map(our_name, kept)) == keypoints()["names"]
  removed = [source["names"][i] for i in source["removed_teeth_ids"]]
  assert set(removed) == {"teeth"} and len(removed) == 36


def test_the_box_is_the_extent_of_what_counts(directory):
  source = open_files(directory)
  assert [source.name(i) for i in range(len(source))] == ["b.png", "3.png"]
  record, labels = source[1], made.labels_of(source, 1)
  (person,) = labels.people
  kept = keypoints()["source_344"]["kept_ids_in_order"]
  wanted = array344(1)[:2, kept].T
  np.testing.assert_array_equal(person.keypoints[:, :2], wanted)
  assert (person.keypoints[:, 2] == 2).all()
  (left, top), (right, bottom) = wanted.min(0), wanted.max(0)
  box = (top, left, bottom - top, right - left)
  np.testing.assert_allclose(person.box, box, rtol=1e-6)
  assert record.person_boxes == (person.box,)


def test_points_at_the_border_outside_or_not_finite_do_not_count():
  points = array344().T.copy()
  points[:6] = [
    *[(0, 9, 1), (9, 0, 1), (SIZE[1], 9, 1), (9, SIZE[0], 1)],
    *[(np.nan, 9, 1), (9, 9, 0)],
  ]
  found = keypoints344.make_person(points, *SIZE).keypoints
  assert not found[:6].any()
  assert (found[6:, 2] == 2).all()


def test_nobody_visible_is_a_box_of_the_whole_image():
  found = keypoints344.make_person(np.zeros((70, 3)), *SIZE)
  assert found.box == (0, 0, *SIZE)


@pytest.mark.parametrize(
  ("num_body", "num_others", "is_taken"),
  [(6, 2, True), (6, 1, False), (5, 50, False), (8, 0, True)],
)
def test_a_person_needs_8_points_and_6_of_the_body(
  directory, num_body, num_others, is_taken
):
  points = array344()
  points[2] = 0
  points[2, :num_body] = points[2, 21 : 21 + num_others] = 1
  made.write_array(directory / "points/b.npy", points)
  if is_taken:
    assert len(made.labels_of(open_files(directory)).people) == 1
    return
  with pytest.raises(
    images.ImageDecodeError, match="too few keypoints .*b.npy"
  ):
    open_files(directory)[0]
  loose = open_files(directory, min_visible=1, min_body=0)
  assert len(made.labels_of(loose).people) == 1


def test_grey_images_are_left_out_unless_asked_for(directory):
  grey = np.arange(60 * 45, dtype=np.uint8).reshape(SIZE)
  made.write_pixels(directory / "images/b.png", np.stack([grey] * 3, -1))
  with pytest.raises(images.ImageDecodeError, match="grey image"):
    open_files(directory)[0]
  assert open_files(directory, keep_grey=True)[0].labels


@pytest.mark.parametrize(
  ("array", "message"),
  [
    (np.zeros((344, 3)), r"b.npy: \(344, 3\), expected \(3, 344\)"),
    (np.zeros((3, 344), str), "b.npy: <U1, expected number"),
    (np.array([{}]), "b.npy: no array of numbers: .*allow_pickle"),
  ],
)
def test_other_arrays_are_named(directory, array, message):
  made.write_array(directory / "points/b.npy", array)
  with pytest.raises(images.ImageDecodeError, match=message):
    open_files(directory)[0]


def test_points_that_are_fractions_are_refused(directory):
  array = array344()
  array[:2] /= np.array(SIZE[::-1])[:, None]
  made.write_array(directory / "points/b.npy", array)
  with pytest.raises(images.ImageDecodeError, match=r"lie in \[0, 1\], exp"):
    open_files(directory)[0]


@pytest.mark.parametrize(
  ("point", "problem"),
  [
    (["1", "2", "2"], "is not 70 times x, y, v"),
    ([True, 2, 2], "is not 70 times x, y, v"),
    ([[1], 2, 2], "is not 70 times x, y, v"),
    ([0.1, 0.2, 2], r"lie in \[0, 1\], expected pixels"),
  ],
)
def test_lists_with_other_points_are_refused(directory, point, problem):
  samples = [{"sample_id": "b", "person_id": 0, "keypoints_2d": [point] * 70}]
  path = made.write_json(directory / "list.json", samples)
  with pytest.raises(ValueError, match=problem):
    keypoints344.KeypointListSource(path, images=str(directory / "images"))


def test_points_that_are_too_far_away_are_not_visible(directory):
  points = [[10**400, 3, 2], [1e300, 3, 2], *[[5, 9, 2]] * 68]
  samples = [{"sample_id": "b", "person_id": 0, "keypoints_2d": points}]
  path = made.write_json(directory / "list.json", samples)
  source = keypoints344.KeypointListSource(
    path, images=str(directory / "images")
  )
  found = made.labels_of(source).people[0].keypoints
  assert np.isfinite(found).all() and not found[:2].any() and found[2, 2] == 2


def test_samples_without_files_are_all_named(directory):
  (directory / "points/b.npy").unlink()
  (directory / "points/3.npy").unlink()
  with pytest.raises(ValueError) as caught:
    open_files(directory)
  lines = str(caught.value).split("\n")
  assert lines[0].endswith("list.json: 2 problems")
  assert lines[1].startswith("  b: no file of that name in ")
  assert lines[2].startswith("  3: no file of that name in ")


def test_two_images_of_one_stem_are_named(directory):
  made.write_image(directory / "images/b.bmp", SIZE)
  with pytest.raises(ValueError, match="b.png: there is b.bmp as well"):
    open_files(directory)


def test_a_directory_that_is_not_there_is_named(directory):
  with pytest.raises(ValueError, match="nowhere: cannot be listed"):
    keypoints344.KeypointListSource(
      made.write_json(
        directory / "list.json",
        [{"sample_id": 1, "person_id": 0, "keypoints_2d": [[2, 1, 1]] * 70}],
      ),
      images=str(directory / "nowhere"),
    )


@pytest.mark.parametrize(
  ("samples", "message"),
  [
    ([], "an empty list"),
    ([3, {}], r"\[0\]: expected an object\n  \[1\]: has no sample_id or air"),
    ([{"sample_id": "b"}, {"sample_id": "b"}], r"\[1\]: sample b is there tw"),
    ({}, "an object, expected a list"),
  ],
)
def test_other_lists_are_refused(directory, samples, message):
  made.write_json(directory / "list.json", samples)
  with pytest.raises(ValueError, match=message):
    open_files(directory)


def test_70_points_are_the_first_of_the_308(directory):
  people = [array344(seed).T[:70].copy() for seed in (5, 6)]
  people[0][:, :2] *= 0.4  # A smaller one.
  samples = [
    {"sample_id": "b", "person_id": i, "keypoints_2d": points.tolist()}
    for i, points in enumerate(people)
  ]
  made.write_json(directory / "list.json", samples)
  source = open_list(directory)
  assert len(source) == 1
  found = made.labels_of(source).people
  for person, wanted in zip(found, people[::-1], strict=True):
    counts = (wanted[:, :2] > 0).all(1)
    assert counts.all()
    np.testing.assert_allclose(person.keypoints[:70, :2], wanted[:, :2])
    assert not person.keypoints[70:].any()


def test_other_70_points_are_named(directory):
  samples = [
    {"sample_id": "b", "person_id": 0, "keypoints_2d": [[1, 2, 3]] * 69},
    {"sample_id": "b", "person_id": 1, "keypoints_2d": "x"},
  ]
  made.write_json(directory / "list.json", samples)
  with pytest.raises(ValueError, match=r"2 problems\n  \[0\]: keypoints_2d is"):
    open_list(directory)
  made.write_json(directory / "list.json", [{"sample_id": "b"}])
  with pytest.raises(ValueError, match="person_id is missing"):
    open_list(directory)
