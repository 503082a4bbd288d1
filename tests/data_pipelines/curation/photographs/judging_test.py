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


@pytest.mark.parametrize("probability, is_wrong", [(0.4, True), (0.6, False)])
def test_mistakes_are_named(probability, is_wrong):
  known = {"person_score": 0.9, "render_photo_probability": probability}
  lines = list(judging.list_mistakes([make("person", **known)]))
  expected = ["render 0.40 person package==1 a.png"] if is_wrong else []
  assert lines == expected
