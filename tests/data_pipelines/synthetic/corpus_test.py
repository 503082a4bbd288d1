"""A synthetic corpus is one like any other, and the same however made."""

import dataclasses
import pathlib

import numpy as np
import pytest

from data_pipelines.building import workspace
from data_pipelines.common import images
from data_pipelines.corpus import labels as labels_lib
from data_pipelines.corpus import verify
from data_pipelines.open_source import open_source
from data_pipelines.synthetic import __main__ as command
from data_pipelines.synthetic import contact_sheet, corpus, samples
from tests.data_pipelines.synthetic import shapes

PLAN = corpus.Plan(count=5, seed=3, size=(64, 48), shard_size=2)


def build(path, plan=PLAN, num_workers=0):
  return corpus.build_synthetic(
    path, plan, load=shapes.load_inputs, num_workers=num_workers
  )


def read_all(path: pathlib.Path) -> dict[str, bytes]:
  return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


# The worker that makes the people.
pytestmark = pytest.mark.xdist_group("bodies")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  path = tmp_path_factory.mktemp("corpus") / "c"
  manifest, is_new = build(path)
  assert is_new and manifest["num_records"] == 5
  return path


def test_it_opens_as_any_corpus_and_holds_all_labels(built):
  source = open_source(built)
  assert len(source) == 5
  for index in range(5):
    record = source[index]
    assert (record.height, record.width) == PLAN.size
    assert record.licence == "CC0" and f"image {index}" in record.source
    image = images.decode_image(record.image)
    labels = labels_lib.decode_labels(record.labels)
    assert image.shape == (*PLAN.size, 3)
    assert record.person_boxes == tuple(p.box for p in labels.people)
    for name in ("alpha", "parts", "normal", "depth", "albedo"):
      assert getattr(labels, name).shape[:2] == PLAN.size
    assert labels.mask.any()


def test_it_is_whole(built):
  assert list(verify.verify_corpus(built)) == []


def test_workers_change_no_byte(built, tmp_path):
  build(tmp_path / "c", num_workers=2)
  assert read_all(tmp_path / "c") == read_all(built)


def test_an_image_depends_on_its_number_only(built):
  people, photographs = shapes.load_inputs()
  record = samples.make_record(
    people, photographs, PLAN.size, seed=PLAN.seed, index=4
  )
  assert open_source(built)[4] == record


def test_some_images_show_nobody_and_the_others_stay(built, tmp_path):
  plan = dataclasses.replace(PLAN, empty=0.5)
  build(tmp_path / "c", plan)
  source, whole = open_source(tmp_path / "c"), open_source(built)
  empty = [not record.person_boxes for record in source]
  assert 0 < sum(empty) < 5
  for record, other, is_empty in zip(source, whole, empty):
    labels = labels_lib.decode_labels(record.labels)
    assert labels.mask.any() != is_empty
    assert (record == other) != is_empty
  assert list(verify.verify_corpus(tmp_path / "c")) == []


def test_a_stopped_build_continues(built, tmp_path, monkeypatch):
  real, calls = samples.make_record, []

  def stop(*args, index, **kwargs):
    if index == 3:
      raise KeyboardInterrupt
    return real(*args, index=index, **kwargs)

  def count(*args, index, **kwargs):
    calls.append(index)
    return real(*args, index=index, **kwargs)

  monkeypatch.setattr(samples, "make_record", stop)
  with pytest.raises(KeyboardInterrupt):
    build(tmp_path / "c")
  assert not (tmp_path / "c").exists()
  monkeypatch.setattr(samples, "make_record", count)
  build(tmp_path / "c")
  assert calls == [2, 3, 4]
  assert read_all(tmp_path / "c") == read_all(built)
  assert not workspace.locate(tmp_path / "c").exists()


def test_a_complete_corpus_is_left_as_it_is(built):
  assert build(built)[1] is False
  other = corpus.Plan(count=5, seed=4, size=(64, 48), shard_size=2)
  with pytest.raises(ValueError, match="holds a corpus of another count, seed"):
    build(built, other)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"count": 0}, "count=0 must be at least 1"),
    ({"shard_size": 0}, "shard_size=0 must be at least 1"),
    ({"empty": 1.5}, "empty=1.5 must be between 0 and 1"),
    ({"seed": -1}, "seed=-1 must be at least 0"),
    ({"size": (31, 64)}, "size=31x64 must be between 32x32"),
    ({"size": (4097, 3072)}, "size=4097x3072 must be .* 4096x3072"),
    ({"size": (3073, 3073)}, "size=3073x3073"),
  ],
)
def test_numbers_out_of_range_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    corpus.Plan(**({"count": 1, "seed": 0, "size": (64, 48)} | change))


def test_the_largest_size_is_allowed_either_way():
  corpus.Plan(1, 0, (4096, 3072))
  corpus.Plan(1, 0, (3072, 4096))


@pytest.mark.parametrize("size", ["1024", "1024x", "axb", "64x48x3", "0.5x64"])
def test_the_command_refuses_other_sizes(size, tmp_path, capsys):
  code = command.main(["--output", str(tmp_path / "c"), "--size", size])
  assert code == 2
  assert f"size={size} is not HEIGHTxWIDTH" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [[], ["--keypoints"]])
def test_a_contact_sheet_shows_it(built, tmp_path, mode):
  output = tmp_path / "sheet.png"
  arguments = ["--data", str(built), "--output", str(output)]
  assert contact_sheet.main([*arguments, "--count", "3", *mode]) == 0
  sheet = images.decode_image(output.read_bytes())
  assert sheet.shape[0] > 250 and np.ptp(sheet) > 100


def test_a_contact_sheet_of_more_images_than_there_are(built, tmp_path, capsys):
  output = str(tmp_path / "sheet.png")
  arguments = ["--data", str(built), "--output", output, "--count", "6"]
  assert contact_sheet.main(arguments) == 2
  assert "count=6" in capsys.readouterr().err
