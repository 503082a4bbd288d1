"""dlib's XML files of faces: what is read, and what is said of mistakes."""

import re

import numpy as np
import pytest
from PIL import Image

from data_pipelines.faces import dlib
from tests.data_pipelines.faces import made


@pytest.fixture
def path(tmp_path):
  boxes = {"one.png": [(10, 5, 20), (40, 20, 30)], "two.png": [(0, 0, 40)]}
  return made.write_faces(tmp_path, "faces.xml", boxes)


def test_faces_have_boxes_of_ours_and_points_in_the_order_of_names(path):
  text = path.read_text()
  first, second = "<part name='00'", "<part name='01'"
  lines = text.split("\n")
  places = [
    next(i for i, x in enumerate(lines) if n in x) for n in (first, second)
  ]
  lines[places[0]], lines[places[1]] = lines[places[1]], lines[places[0]]
  path.write_text("\n".join(lines))
  found = dlib.read_faces(path)
  names = [face.image.rpartition("/")[2] for face in found]
  assert names == ["one.png", "one.png", "two.png"]
  assert [face.box for face in found] == [
    *((5, 10, 20, 20), (20, 40, 30, 30), (0, 0, 40, 40))
  ]
  for face, box in zip(found, ((10, 5, 20), (40, 20, 30), (0, 0, 40))):
    np.testing.assert_array_equal(face.points, made.draw_points(*box))


def test_a_box_that_is_to_be_ignored_is_left_out(path):
  text = path.read_text().replace("<box ", "<box ignore='1' ", 1)
  path.write_text(text)
  assert len(dlib.read_faces(path)) == 2


@pytest.mark.parametrize(
  "old, new, problem",
  [
    ("<part name='07' x='[^']*'", "<part name='07' x='left'", "x is 'left'"),
    ("<part name='07'", "<part name='70'", "part '70', expected 0 to 67"),
    ("<part name='07'", "<part name='06'", "68 parts with 67 names"),
    ("<part name='07'[^>]*/>", "", "67 parts with 67 names, expected 68"),
    ("width='20'", "width='0'", "height and width are 20, 0"),
    ("top='5'", "", "top is None, expected a number"),
    ("width='80'", "width='81'", "width is 80, the file says 81"),
    ("file='one.png'", "file='no.png'", "no.png: cannot be read"),
    ("file='one.png'", "", r"image 0 \(None\): has no file"),
    ("</dataset>", "", "cannot be read as XML"),
    ("(?s)<image file.*</image>", "", "has no face"),
  ],
)
def test_a_mistake_is_told_with_its_file_and_place(path, old, new, problem):
  text, count = re.subn(old, new, path.read_text(), count=1)
  assert count
  path.write_text(text)
  with pytest.raises(ValueError, match=f"(?s)faces.xml.*{problem}"):
    dlib.read_faces(path)


def test_all_mistakes_are_told_at_once(path):
  text = path.read_text().replace("name='03'", "name='x'")
  path.write_text(text)
  with pytest.raises(ValueError, match="3 problems"):
    dlib.read_faces(path)


def test_a_photograph_that_exif_turns_is_refused(path):
  exif = Image.Exif()
  exif[0x0112] = 6
  photograph = path.with_name("two.png")
  Image.open(photograph).save(photograph, exif=exif)
  with pytest.raises(ValueError, match="two.png.*EXIF turns it"):
    dlib.read_faces(path)
