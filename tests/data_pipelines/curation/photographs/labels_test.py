"""The labels that stages are judged by."""

import pytest

from data_pipelines.curation.photographs import labels


def test_the_labels_are_enough_and_halves_share_nothing():
  images = labels.read_labels()
  known = {labels.PERSON, *labels.NOBODY, *labels.UNCLEAR}
  assert {image.kind for image in images} <= known
  of = {h: [i for i in images if i.half == h] for h in labels.HALVES}
  assert sum(map(len, of.values())) == len(images)
  places = [(i.requirement, i.member, i.frame) for i in images]
  assert len(set(places)) == len(places)
  for what in ("requirement", "sha256"):
    first, second = ({getattr(i, what) for i in of[h]} for h in labels.HALVES)
    assert not first & second
  kinds = [image.kind for image in of["test"]]
  assert kinds.count(labels.PERSON) >= 88
  assert kinds.count("rendered") >= 10  # People, in 3D.
  assert sum(kind in labels.NOBODY for kind in kinds) >= 200


def test_an_interval_contains_the_share_and_stays_within_bounds():
  # Of the article by Newcombe, 1998: 81 of 263.
  assert labels.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
  assert labels.wilson(0, 20)[0] == 0
  assert labels.wilson(20, 20)[1] == 1
  assert labels.wilson(0, 0) == (0, 1)


def test_each_kind_is_a_photograph_or_not_or_neither():
  assert labels.is_photo("small") is True
  assert labels.is_photo("drawn") is labels.is_photo("rendered") is False
  assert labels.is_photo("texture") is None
  known = {labels.PERSON, *labels.NOBODY, *labels.UNCLEAR}
  assert {*labels.PHOTOS, *labels.NO_PHOTOS} <= known


def test_hidden_faces_are_of_people_in_the_test_half():
  people = {
    image.sha256
    for image in labels.read_labels()
    if image.kind == labels.PERSON and image.half == "test"
  }
  hidden = labels.read_hidden_faces()
  assert hidden < people and len(hidden) == 17
