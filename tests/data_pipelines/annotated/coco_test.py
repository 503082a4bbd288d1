"""COCO files: people with 308 keypoints, from fields of any length."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.annotated import categories, coco
from data_pipelines.common import images
from data_pipelines.vocabulary import keypoints
from tests.data_pipelines.annotated import made

SIZE = (30, 50)
# COCO's own names, in COCO's order.
COCO17 = (
  "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder "
  "left_elbow right_elbow left_wrist right_wrist left_hip right_hip "
  "left_knee right_knee left_ankle right_ankle"
).split()


def points(count, seed=0, visibility=2):
  rng = np.random.default_rng(seed)
  found = np.full((count, 3), visibility, np.float32)
  found[:, :2] = rng.uniform(1, 29, (count, 2))
  return found


def person(image=1, **fields):
  given = {"id": 7, "image_id": image, "category_id": 1, "iscrowd": 0}
  given |= {"bbox": [5, 6, 20, 10], "area": 120.5, "num_keypoints": 3}
  found = {
    name: value.reshape(-1).tolist() if hasattr(value, "reshape") else value
    for name, value in fields.items()
  }
  return given | found


def picture(number=1, **fields):
  name = f"sub/{number}.png"
  found = {"id": number, "file_name": name, "width": 50, "height": 30}
  return found | fields


@pytest.fixture
def open_file(tmp_path):
  """open_file(annotations, images, **more) -> source."""

  def write_and_open(annotations, pictures=None, **more):
    pictures = [picture()] if pictures is None else pictures
    for entry in pictures:
      if isinstance(entry, dict) and "file_name" in entry:
        made.write_image(tmp_path / "images" / entry["file_name"], SIZE)
    found = {"images": pictures, "annotations": annotations, **more}
    path = made.write_json(tmp_path / "ann.json", found)
    return coco.CocoSource(path, images=str(tmp_path / "images"))

  return write_and_open


def test_308_points_are_taken_as_they_are(open_file):
  wanted = points(308)
  wanted[::3, 2], wanted[1::3, 2] = 0, 1
  source = open_file(
    [person(goliath_wholebody_kpts=wanted, keypoints=points(17, 9))]
  )
  record, labels = source[0], made.labels_of(source)
  assert (record.height, record.width, record.name) == (*SIZE, "sub/1.png")
  (found,) = labels.people
  np.testing.assert_array_equal(found.keypoints, wanted)
  assert found.box == (6.0, 5.0, 10.0, 20.0) and found.area == 120.5
  assert record.person_boxes == ((6.0, 5.0, 10.0, 20.0),)


def test_17_points_take_the_numbers_of_their_names(open_file):
  given = points(17, visibility=1)
  found = made.labels_of(open_file([person(keypoints=given)])).people[0]
  names = keypoints()["names"]
  for name, wanted in zip(COCO17, given, strict=True):
    np.testing.assert_array_equal(found.keypoints[names.index(name)], wanted)
  assert (found.keypoints[:, 2] > 0).sum() == 17
  rest = found.keypoints[found.keypoints[:, 2] == 0]
  assert not rest.any()


def test_fields_of_parts_fill_all_but_the_inner_joints(open_file):
  fields = {
    "keypoints": points(17, 1),
    "foot_kpts": points(6, 2),
    "face_kpts": points(238, 3),
    "lefthand_kpts": points(20, 4),
    "righthand_kpts": points(20, 5),
  }
  groups = ("body17", "foot6", "face238", "left_hand20", "right_hand20")
  found = made.labels_of(open_file([person(**fields)])).people[0]
  for group, wanted in zip(groups, fields.values(), strict=True):
    ids = keypoints()["groups"][group]
    np.testing.assert_array_equal(found.keypoints[ids], wanted)
  extra = keypoints()["groups"]["extra7"]
  assert not found.keypoints[extra].any()


def test_coco_wholebody_has_other_hands_and_no_face_of_ours():
  names = keypoints()["names"]
  fingers = ("thumb", "forefinger", "middle_finger", "ring_finger")
  for side, field in (("left", "lefthand_kpts"), ("right", "righthand_kpts")):
    theirs = [f"{side}_hand_root"] + [
      f"{side}_{finger}{joint}"
      for finger in (*fingers, "pinky_finger")
      for joint in (1, 2, 3, 4)
    ]
    wanted = [names.index(n) if n in names else -1 for n in theirs]
    assert coco.find_ids(((field, 21),)).tolist() == wanted
    assert wanted.count(-1) == 6  # The root, and where fingers begin.
  assert (coco.find_ids((("face_kpts", 68),)) == -1).all()


def test_the_two_ways_to_number_body_and_feet_agree():
  fields = (("keypoints", 17), ("foot_kpts", 6))
  groups = keypoints()["groups"]
  wanted = groups["body17"] + groups["foot6"]
  assert coco.find_ids(fields).tolist() == wanted


def test_any_visibility_above_0_is_a_label(open_file):
  given = points(17)
  given[:5, 2] = (0, 0.3, 1, 2, -1)
  found = made.labels_of(open_file([person(keypoints=given)])).people[0]
  assert found.keypoints[:5, 2].tolist() == [0, 2, 1, 2, 0]


@given(
  x=st.floats(-80, 80),
  y=st.floats(-80, 80),
  width=st.floats(-5, 100),
  height=st.floats(-5, 100),
)
def test_a_box_ends_at_the_centres_of_the_last_pixels(x, y, width, height):
  clipped = coco.clip_box((x, y, width, height), *SIZE)
  inside = min(x + width, 49) > max(x, 0) and min(y + height, 29) > max(y, 0)
  assert (clipped is not None) == inside
  if clipped:
    top, left, box_height, box_width = clipped
    assert min(top, left) >= 0 and min(box_height, box_width) > 0
    assert top + box_height <= 29 + 1e-9 and left + box_width <= 49 + 1e-9


def test_people_of_an_image_come_largest_first(open_file):
  small = person(keypoints=points(17), bbox=[0, 0, 5, 5])
  large = person(keypoints=points(17), bbox=[-9, 0, 99, 99])
  people = made.labels_of(open_file([small, large])).people
  assert people[0].box == (0.0, 0.0, 29.0, 49.0)
  assert people[1].box == (0.0, 0.0, 5.0, 5.0)


@pytest.mark.parametrize(
  "fields",
  [
    {"iscrowd": 1},
    {"num_keypoints": 0},
    {"bbox": [5, 5, 0, 9]},
    {"bbox": [60, 5, 9, 9]},
    {"keypoints": points(17, visibility=0)},
    {"keypoints": points(17) * np.float32([-1, 0, 1])},
  ],
)
def test_who_cannot_be_learned_from_is_left_out(open_file, fields):
  good = person(2, keypoints=points(17))
  bad = person(**({"keypoints": points(17)} | fields))
  nothing = person(3)
  source = open_file([bad, nothing, good], [picture(n) for n in (1, 2, 3)])
  assert [source.name(i) for i in range(len(source))] == ["sub/2.png"]


PERSON = {"id": 1, "name": "person", "keypoints": list(COCO17)}
DOG = {"id": 2, "name": "dog", "keypoints": [f"dog_{i}" for i in range(17)]}


def test_points_are_read_by_the_names_that_the_file_lists(open_file):
  own = [name.title().replace("_", " ") for name in COCO17[::-1]]
  order = {**PERSON, "keypoints": [*own, "hat"]}
  given = points(18)
  source = open_file([person(keypoints=given)], categories=[order])
  found = made.labels_of(source).people[0].keypoints
  names = keypoints()["names"]
  for name, wanted in zip(COCO17[::-1], given):
    np.testing.assert_array_equal(found[names.index(name)], wanted)
  assert (found[:, 2] > 0).sum() == 17
  assert source.notes == (
    f"{source.location(0).removesuffix('images/sub/1.png')}ann.json: 1 "
    "keypoints left out, which the 308 do not have: hat",
  )


def test_names_of_the_lists_of_344_are_known():
  names = keypoints()["names"]
  assert categories.find_id("right_thumb_tip") == names.index("right_thumb4")
  assert [categories.find_id(name) for name in names] == list(range(308))
  assert categories.find_id("teeth") == categories.find_id("") == -1


def test_308_names_order_the_308_points(open_file):
  names, given = keypoints()["names"], points(308)
  order = {**PERSON, "keypoints": names[::-1]}
  entry = person(goliath_wholebody_kpts=given)
  source = open_file([entry], categories=[order])
  found = made.labels_of(source).people[0].keypoints
  np.testing.assert_array_equal(found, given[::-1])


def test_only_people_are_taken_and_others_are_counted(open_file):
  plate = {"id": 3, "name": "number plate", "keypoints": ["tl", "br"]}
  annotations = [
    person(1, keypoints=points(17)),
    person(2, keypoints=points(17, 1), category_id=2),
    person(2, keypoints=points(2), category_id=3),
    person(2, keypoints=points(17), iscrowd=1),
  ]
  pictures = [picture(1), picture(2)]
  categories = [PERSON, DOG, plate]
  source = open_file(annotations, pictures, categories=categories)
  assert [source.name(i) for i in range(len(source))] == ["sub/1.png"]
  assert [note.partition("ann.json: ")[2] for note in source.notes] == [
    "annotations left out: 1 of category dog, 1 of category number plate, "
    "1 crowds",
    "images left out: 1 without people",
  ]


def test_another_category_can_be_asked_for(open_file, tmp_path):
  child = {**PERSON, "id": 5, "name": "Child"}
  entries = [
    person(keypoints=points(17, 1), category_id=1),
    person(keypoints=points(17, 2), category_id=5),
  ]
  open_file(entries, categories=[PERSON, child])
  given = {"images": str(tmp_path / "images"), "category": "child"}
  source = coco.CocoSource(str(tmp_path / "ann.json"), **given)
  (found,) = made.labels_of(source).people
  np.testing.assert_array_equal(found.keypoints[0], points(17, 2)[0])
  with pytest.raises(ValueError, match="no category is named 'cat'; .*Child"):
    coco.CocoSource(str(tmp_path / "ann.json"), **{**given, "category": "cat"})


def test_a_file_without_categories_is_read_with_a_line(open_file):
  source = open_file([person(keypoints=points(17))])
  assert len(source) == 1
  assert "no categories; all annotations are taken as people" in source.notes[0]
  assert "are taken in COCO's order" in source.notes[1]


@pytest.mark.parametrize(
  ("categories", "message"),
  [
    ({}, "categories: expected a list"),
    ([3], r"categories\[0\]: expected an object with id and name"),
    ([PERSON, PERSON], r"categories\[1\]: id 1 is there twice"),
    ([{**PERSON, "keypoints": ["nose", "Nose"]}], "no list of different names"),
    (
      [{**PERSON, "keypoints": ["left_thumb4", "left_thumb_tip"]}],
      "no list of different names",
    ),
    ([DOG], "no category is named 'person'; give category=NAME .* dog"),
    ([{**PERSON, "id": 9}], "category_id 1 is no category's id"),
    (
      [{**PERSON, "keypoints": ["nose"]}],
      "has 51 numbers, expected 3 for the 1 names of its category",
    ),
    (
      [{**PERSON, "keypoints": DOG["keypoints"]}],
      "none of 1 annotations .*\n.*1 without keypoints\n.*\n.*dog_0, dog_1",
    ),
  ],
)
def test_other_categories_are_refused(open_file, categories, message):
  with pytest.raises(ValueError, match=message):
    open_file([person(keypoints=points(17))], categories=categories)


@pytest.mark.parametrize("box", [None, [], "absent"])
def test_without_a_box_it_is_the_extent_of_the_points(open_file, box):
  given = points(17)
  given[4:, 2], given[:4, :2] = 0, [[3, 4], [20, 9], [7, 25], [8, 8]]
  entry = person(keypoints=given, bbox=box)
  if box == "absent":
    del entry["bbox"]
  source = open_file([entry], categories=[PERSON])
  assert source[0].person_boxes == ((4.0, 3.0, 21.0, 17.0),)
  assert "1 people have no box" in source.notes[0]


def test_an_area_of_nothing_is_not_known(open_file):
  for area in (0, -5.0, None):
    source = open_file([person(keypoints=points(17), area=area)])
    assert made.labels_of(source).people[0].area is None


def test_a_byte_order_mark_and_whole_floats_are_read(open_file, tmp_path):
  entry = picture(1.0, width=50.0, height=30.0)
  entry["file_name"] = "sub/1.png"
  open_file([person(keypoints=points(17))], [entry])
  path = tmp_path / "ann.json"
  path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
  source = coco.CocoSource(str(path), images=str(tmp_path / "images"))
  assert made.labels_of(source).people[0].keypoints[0, 2] == 2


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"keypoints": [1e300, 5, 2] * 17}, "has 1e\\+300, expected pixels below"),
    ({"keypoints": [10**400, 5, 2] * 17}, "no list of finite numbers"),
    ({"keypoints": ["1", "5", "2"] * 17}, "no list of finite numbers"),
    ({"keypoints": [True, 5, 2] * 17}, "no list of finite numbers"),
    ({"keypoints": [[1, 5, 2]] * 17}, "no list of finite numbers"),
    ({"keypoints": [0.3, 0.5, 2] * 17}, r"lie in \[0, 1\], expected pixels"),
    ({"bbox": [0.1, 0.2, 0.3, 0.4]}, r"lies in \[0, 1\], expected pixels"),
    ({"bbox": [0, 0, 1e99, 9]}, "bbox has 1e\\+99, expected pixels below"),
    ({"area": 10**400}, "area is no finite number"),
    ({"area": float("nan")}, "area is no finite number"),
    ({"iscrowd": "no"}, "iscrowd is neither 0 nor 1"),
    ({"image_id": True}, "image_id True is no image's id"),
    ({"image_id": [1]}, r"image_id \[1\] is no image's id"),
    ({"num_keypoints": "0"}, "num_keypoints is no finite number"),
  ],
)
def test_numbers_that_are_none_are_named(open_file, fields, message):
  with pytest.raises(ValueError, match=message):
    open_file([person(**{"keypoints": points(17)} | fields)])


@pytest.mark.parametrize(
  ("fields", "name"),
  [
    ({"width": True}, "width"),
    ({"height": 10**400}, "height"),
    ({"height": 30.5}, "height"),
    ({"file_name": "a\0b"}, "file_name"),
    ({"file_name": " "}, "file_name"),
    ({"file_name": "http://a/b.jpg"}, "file_name"),
    ({"id": None}, "id"),
  ],
)
def test_images_of_another_form_are_named(tmp_path, fields, name):
  found = {"images": [picture(**fields)], "annotations": []}
  path = made.write_json(tmp_path / "ann.json", found)
  with pytest.raises(ValueError, match=f"{name}: missing or of another type"):
    coco.CocoSource(path, images=str(tmp_path))


def test_licence_and_source_of_an_image_are_kept(open_file):
  entry = picture(license=4, coco_url="http://here")
  licences = [{"id": 4, "name": "CC BY", "url": "http://cc"}]
  source = open_file([person(keypoints=points(17))], [entry], licenses=licences)
  assert source[0].licence == "CC BY http://cc"
  assert source[0].source == "http://here"


def test_a_copy_for_another_process_reads_the_same(open_file):
  source = open_file([person(keypoints=points(17))])
  copy = pickle.loads(pickle.dumps(source))
  assert copy[0] == source[0] and copy.location(0) == source.location(0)


def test_an_image_of_another_size_is_left_out(open_file):
  entry = picture(width=30, height=50)
  source = open_file([person(keypoints=points(17))], [entry])
  with pytest.raises(images.ImageDecodeError) as caught:
    source[0]
  assert caught.value.reason == "bad labels"
  assert "annotations is (50, 30), the upright image (30, 50)" in (
    caught.value.detail
  )


def test_an_image_that_is_not_there_is_left_out(open_file, tmp_path):
  source = open_file([person(keypoints=points(17))])
  (tmp_path / "images/sub/1.png").unlink()
  with pytest.raises(images.ImageDecodeError, match="1.png: No such file"):
    source[0]


def test_all_problems_of_a_file_are_said_at_once(open_file):
  annotations = [
    3,
    person(5, keypoints=points(17)),
    person(keypoints=points(16)),
    person(lefthand_kpts=points(19)),
    person(keypoints=points(17), bbox=[1, 2, 3]),
    person(keypoints=points(17), bbox="all"),
    person(keypoints=["a"] * 51),
    person(keypoints=points(17), area="large"),
  ]
  twice = picture(9, file_name="sub/1.png")
  pictures = [picture(), 4, {"id": 1}, picture(), twice]
  with pytest.raises(ValueError) as caught:
    open_file(annotations, pictures)
  assert str(caught.value).split("\n")[1:] == [
    "  images[1]: expected an object",
    "  images[2]: file_name, height, width: missing or of another type",
    "  images[3]: id 1 is there twice",
    "  images[4]: file_name sub/1.png is there twice",
    "  annotations[0]: expected an object",
    "  annotations[1]: image_id 5 is no image's id",
    "  annotations[2]: keypoints has 48 numbers, expected 51",
    "  annotations[3]: lefthand_kpts has 57 numbers, expected 60 or 63",
    "  annotations[4]: bbox has 3 numbers, expected 4",
    "  annotations[5]: bbox is no list of finite numbers",
    "  annotations[6]: keypoints is no list of finite numbers",
    "  annotations[7]: area is no finite number",
  ]
  assert "ann.json: 12 problems" in str(caught.value)


def test_of_very_many_problems_the_first_are_shown(open_file):
  with pytest.raises(ValueError, match="200 problems") as caught:
    open_file([3] * 200)
  assert str(caught.value).endswith("\n  and 180 more")


def test_a_file_without_anybody_says_what_was_looked_for(open_file):
  with pytest.raises(ValueError, match="none of 1 annotations .*goliath_whole"):
    open_file([person()])


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("[1]", "a list, expected an object"),
    ("3", "int, expected an object"),
    ("{", "ann.json: no JSON"),
    pytest.param("[" * 100_000, "ann.json: no JSON", id="deep"),
    pytest.param("9" * 5000, "ann.json: no JSON", id="long"),
    ('{"a": "\\ud800"}', "ann.json: no JSON"),
    ('{"images": []}', "annotations: expected a list"),
  ],
)
def test_other_files_are_refused(tmp_path, text, message):
  (tmp_path / "ann.json").write_text(text)
  with pytest.raises(ValueError, match=message):
    coco.CocoSource(str(tmp_path / "ann.json"), images=str(tmp_path))


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(ValueError, match="no.json: cannot be read"):
    coco.CocoSource(str(tmp_path / "no.json"), images=str(tmp_path))
