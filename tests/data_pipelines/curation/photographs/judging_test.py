"""Counts that come out of labels and columns."""

import pytest

from data_pipelines.curation.photographs import judging, labels


def make(kind, **columns):
  image = labels.Labelled("package==1", "pypi", "test", "a.png", kind, "0" * 64)
  return image, columns


def find(lines, start):
  (line,) = (line for line in lines if line.startswith(start))
  return line


def test_recall_and_precision_of_the_person_stage():
  scored = [make("person", person_score=s) for s in (0.9, 0.5, 0.2, 0.7)]
  scored += [make("animal", person_score=s) for s in (0.6, 0.1)]
  scored += [make("drawn", person_score=0.99)]  # Counts neither way.
  lines = list(judging.judge_person(scored))
  assert find(lines, "person recall").startswith("person recall 3/4 = 0.750 [")
  assert "precision 3/4 = 0.750 [0.301, 0.954]" in find(
    lines, "person precision"
  )
  assert "  drawn: 1 of 1 pass" in lines


def test_both_classes_of_the_render_stage_are_counted():
  scored = [make("person", p=v) for v in (0.9, 0.8, 0.3)]
  scored += [make("screen", p=v) for v in (0.2, 0.6)]
  scored += [make("texture", p=0.1)]  # Counts neither way.
  lines = list(judging.judge_render(scored, "p"))
  for what, counts in (
    ("photograph recall", "2/3"),
    ("photograph precision", "2/3"),
    ("drawn or rendered recall", "1/2"),
    ("drawn or rendered precision", "1/2"),
  ):
    assert find(lines, what).startswith(f"{what} {counts} = ")
  assert "area under the curve 0.833" in lines


@pytest.mark.parametrize(
  "column, value, expected",
  [
    ("person_score", 0.4, ["person 0.40 person package==1 a.png"]),
    ("render_photo_probability", 0.3, ["render 0.30 person package==1 a.png"]),
    ("safety_nsfw", 0.6, ["safety 0.60 person package==1 a.png"]),
    ("safety_nsfw", 0.4, []),
  ],
)
def test_mistakes_are_named(column, value, expected):
  known = {"person_score": 0.9, "render_photo_probability": 0.6}
  known = {**known, "safety_nsfw": 0.1, column: value}
  assert list(judging.list_mistakes([make("person", **known)])) == expected


def test_faces_that_are_hidden_are_not_missed():
  scored = [make("person", face_count=count) for count in (1, 0, 2)]
  scored += [make("animal", face_count=count) for count in (0, 1)]
  scored += [make("drawn", face_count=1)]  # Counts neither way.
  lines = list(judging.judge_face(scored, frozenset()))
  assert lines[0].startswith("face recall 2/3 = ")
  assert lines[1].startswith("face precision 2/3 = ")
  lines = list(judging.judge_face(scored, {"0" * 64}))
  assert lines[0] == "face recall 0/0 = -"
  assert lines[1].startswith("face precision 0/3 = ")


def test_other_stages_are_counted_over_their_limits():
  known = {"text_share": 0.1, "safety_nsfw": 0.1}
  none = {"text_share": 0.0, "safety_nsfw": 0.7}
  mask = {"mask_share": 0.5, "mask_hidden": None}
  scored = [make("person", **known, **mask), make("animal", **none)]
  scored += [make("screen", **known)]
  lines = list(judging.judge_others(scored))
  for start in (
    "text left out, screens, pages and covers 1/1",
    "text left out, photographs 1/2",
    "safety left out, all 1/3",
    "mask_share of people: least, 5 %, 95 %, most 0.50",
  ):
    find(lines, start)
