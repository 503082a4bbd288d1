"""Mistakes in COCO files are named, or change nothing but what they touch."""

import collections

import pytest

from data_pipelines.annotated import coco
from data_pipelines.corpus.labels import decode_labels
from data_pipelines.vocabulary import keypoints
from tests.data_pipelines.annotated import coco_fuzz


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  found = tmp_path_factory.mktemp("fuzz")
  coco_fuzz.write_images(found)
  return found


def run(seeds, directory):
  found = collections.Counter()
  for seed in seeds:
    data = coco_fuzz.make_file(seed)
    try:
      outcome = coco_fuzz.judge(data, directory)
    except Exception as error:
      error.add_note(f"seed {seed}")
      raise
    found[outcome] += 1
  return found


def test_without_a_mistake_each_body_is_right(directory, monkeypatch):
  monkeypatch.setattr(coco_fuzz, "change", lambda *_: None)
  monkeypatch.setattr(coco_fuzz, "damage", lambda data, _: data)
  for seed in range(5):
    (directory / "ann.json").write_bytes(coco_fuzz.make_file(seed))
    source = coco.CocoSource(str(directory / "ann.json"), images=str(directory))
    assert len(source) == 4
    for number in range(4):
      (person,) = decode_labels(source[number].labels).people
      body = person.keypoints[keypoints()["groups"]["body17"]]
      assert (body == coco_fuzz.expected(number)).all()


def test_a_few_mistakes_of_each_kind(directory):
  found = run(range(40), directory)
  assert found["refused"] and found["read 4"]


@pytest.mark.slow
def test_500_files_with_mistakes(directory):
  found = run(range(1000, 1500), directory)
  assert found.total() == 500
  assert found["refused"] > 100 and found["read 4"] > 50
