"""What counts as turned, and by how much a roll is off."""

import numpy as np
import pytest

from data_pipelines.curation.photographs import heads, labels


def test_turned_heads_are_of_people_of_the_test_half_whose_face_is_seen():
  people = {
    image.sha256
    for image in labels.read_labels()
    if image.kind == labels.PERSON and image.half == "test"
  }
  turned = heads.read_turned()
  assert set(turned) <= people - labels.read_hidden_faces()
  assert set(turned.values()) == {*heads.SIDES, "ahead"}


def test_yaws_are_counted_by_side():
  some = [heads.Head("left", yaw) for yaw in (-20.0, -5.0, 30.0, None)]
  some += [heads.Head("right", 40.0), heads.Head("ahead", -16.0)]
  lines = list(heads.judge(some))
  assert lines[0].startswith("head found 5/6 = ")
  assert "  left: 2 of 4 on that side" in lines
  assert "  right: 1 of 1 on that side" in lines
  # Two are turned to their side; one to the other side, one is ahead.
  assert "turned by 15 degrees or more, recall 2/5 = " in "\n".join(lines)
  assert "turned by 15 degrees or more, precision 2/4 = " in "\n".join(lines)


def test_a_roll_is_that_of_an_image_turned_clockwise():
  image = np.zeros((60, 90, 3), np.uint8)
  image[28:32, 70:80] = 255  # Right of the middle.
  turned = heads.roll(image, 90.0)
  assert turned.shape == (90, 60, 3)
  rows, cols = np.nonzero(turned[..., 0] > 128)
  assert rows.mean() == pytest.approx(75, abs=1.5)  # Below the middle.
  assert cols.mean() == pytest.approx(30, abs=1.5)


def test_mirrors_and_rolls_are_compared_with_what_they_should_be():
  rolls = iter([3.0, 170.0, None, 18.0, 33.0])
  yaws = iter([12.0, *[0.0] * 4, -10.0])

  def pose(image):
    return {"yaw": next(yaws), "roll": next(rolls, 0.0)}

  head = heads.look(np.zeros((8, 8, 3), np.uint8), "right", pose)
  # 170 is 190 away from -15 + 3: 178 the other way round.
  assert head.rolls == (-163.0, None, 0.0, 0.0)
  assert (head.yaw, head.mirrored) == (12.0, -10.0)
  lines = list(heads.judge([head]))
  assert any("mirrored image: found 1 of 1, off by 2.0" in x for x in lines)
  assert "roll by -15 degrees: found 0 of 1" in lines
