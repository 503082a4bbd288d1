"""Boxes of people from a file: right, or an error that names them."""

import json
import math
import re

import numpy as np
import pytest

from data_pipelines.common import images
from data_pipelines.common.errors import UnusableExample
from sapiens2_jax.prediction import people
from tests.prediction import models
from tests.prediction.running import boxes_file, predict, read_people


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return models.write_images(tmp_path_factory.mktemp("images"))


def test_mistakes_in_boxes_are_named(tmp_path):
  path = tmp_path / "boxes.json"

  def read_boxes():
    people.People({"boxes": str(path)}, ["wide.jpg"])

  path.write_text("[]")
  with pytest.raises(ValueError, match="boxes=.*json: a list, expected an obj"):
    read_boxes()
  path.write_text('{"annotations": 5, "images": []}')
  with pytest.raises(ValueError, match="expected JSON with images"):
    read_boxes()
  path.write_text('{"annotations": [], "images": [{"id": [1]}, 5]}')
  with pytest.raises(ValueError) as error:
    read_boxes()
  assert str(error.value).splitlines()[1:] == [
    "  images[0]: id, file_name: missing or of another type",
    "  images[1]: expected an object",
  ]
  boxes_file(path, {"image_id": 8, "bbox": [0, 0, 1, 1]})
  with pytest.raises(ValueError, match=r"annotations\[0\]: image_id=8 is none"):
    read_boxes()
  for box in (
    *([0, 0, 1, 0], [0, 0, 1, math.inf], [0, 0, True, 1], "1234"),
    *([0.1, 0.2, 0.5, 0.4], [0, 0, 1, 10**400]),
  ):
    boxes_file(path, {"image_id": 7, "bbox": box})
    with pytest.raises(ValueError, match=r"bbox=.*, expected left"):
      read_boxes()
  boxes_file(path, {"image_id": 7, "bbox": [0, 0, 9, 9]}, name="other.jpg")
  with pytest.raises(ValueError, match="none of the 1 images"):
    read_boxes()


def test_boxes_of_dogs_are_no_people(tmp_path, capsys):
  path = boxes_file(
    tmp_path / "boxes.json",
    {"image_id": 7, "bbox": [1, 2, 0, 0], "category_id": 18},
    {"image_id": 7, "bbox": [5, 6, 7, 8], "category_id": 1},
    {"image_id": 7, "bbox": [0, 0, 9, 9], "category_id": 1, "iscrowd": 1},
  )
  given = json.loads(path.read_text())
  dog, person = {"id": 18, "name": "dog"}, {"id": 1, "name": "Person"}
  path.write_text(json.dumps({**given, "categories": [dog, person]}))
  find = people.People({"boxes": str(path)}, ["wide.jpg"])
  labels = find("wide.jpg", np.zeros((41, 120, 3), np.uint8))
  assert [person.box for person in labels.people] == [(6, 5, 8, 7)]
  assert "2 boxes of other categories or crowds left" in capsys.readouterr().err
  path.write_text(json.dumps({**given, "categories": [dog]}))
  with pytest.raises(ValueError, match="no category is named 'person'; .* dog"):
    people.People({"boxes": str(path)}, ["wide.jpg"])


def test_an_image_whose_boxes_are_of_stored_pixels_is_left_out(
  tmp_path, folder
):
  file = boxes_file(
    tmp_path / "boxes.json", {"image_id": 7, "bbox": [10, 5, 30, 35]}
  )
  given = json.loads(file.read_text())
  height, width = models.SIZES["wide.jpg"]
  given["images"][0] |= {"height": height, "width": width}
  file.write_text(json.dumps(given))
  find = people.People({"boxes": str(file)}, list(models.SIZES))
  image = images.decode_image((folder / "wide.jpg").read_bytes())
  assert find("wide.jpg", image).people[0].box == (5, 10, 35, 30)
  given["images"][0] |= {"height": width, "width": height}
  file.write_text(json.dumps(given))
  find = people.People({"boxes": str(file)}, list(models.SIZES))
  _, found, _, _ = predict("pose", tmp_path, folder, find)
  reason = dict(found.skipped)["wide.jpg"]
  assert "boxes of another size" in reason
  assert "give boxes of the image as EXIF turns it" in reason


def test_an_image_whose_boxes_lie_outside_is_left_out(tmp_path, folder):
  """As those of another size do, where the file does not say it."""
  file = boxes_file(
    tmp_path / "boxes.json",
    {"image_id": 7, "bbox": [10, 5, 30, 35]},
    {"image_id": 7, "bbox": [10, 905, 30, 35]},
  )
  find = people.People({"boxes": str(file)}, list(models.SIZES))
  image = images.decode_image((folder / "wide.jpg").read_bytes())
  with pytest.raises(UnusableExample, match="boxes outside .*905"):
    find("wide.jpg", image)


def test_damaged_boxes_are_right_or_an_error(tmp_path):
  rng = np.random.default_rng(0)
  path = boxes_file(
    tmp_path / "boxes.json",
    {"image_id": 7, "bbox": [10, 5, 30, 35]},
    {"image_id": 7, "bbox": [60.5, 0, 40, 40]},
  )
  whole, refused = path.read_text(), 0
  odd = ("null", "-1", "1e999", "[]", "{}", '"7"', "1" * 400, "NaN", "true")
  for _ in range(500):
    words = re.split(r"([ ,:\[\]{}]+)", whole)
    words[rng.integers(len(words))] = str(rng.choice(odd))
    path.write_text("".join(words))
    try:
      found = read_people(path, {"wide.jpg"})
    except ValueError:
      refused += 1
      continue
    edges = [person.box for person in found["wide.jpg"].people]
    assert np.isfinite(edges).all() and np.min(np.array(edges)[:, 2:]) > 0
  assert 250 < refused < 500


def test_people_count_where_they_are_needed_or_given(tmp_path):
  file = boxes_file(tmp_path / "a.json", {"image_id": 7, "bbox": [1, 2, 3, 4]})
  for path, is_needed, is_told in (
    ("", False, False),
    (file, False, True),
    ("", True, True),
  ):
    given = {"boxes": str(path), "detect": False}
    find = people.People(given, ["wide.jpg"], is_needed)
    find("wide.jpg", np.zeros((50, 120, 3), np.uint8))
    assert bool(find.summary()) == is_told
