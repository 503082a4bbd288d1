"""Labelled images become a corpus: whole, in order, and continued."""

import json

import numpy as np
import pytest

from data_pipelines import sources
from data_pipelines.annotated import __main__ as command
from data_pipelines.annotated import opening, packing
from data_pipelines.building import workspace
from data_pipelines.common import images
from data_pipelines.corpus import verify
from data_pipelines.corpus.labels import decode_labels
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora
from tests.data_pipelines.annotated import made

SIZE = (20, 14)


@pytest.fixture
def spec(tmp_path):
  """Matting: 7 images; the first two are broken, the fifth is the fourth."""
  for number in range(7):
    seed = 3 if number == 4 else number
    mask = np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)
    made.write_image(tmp_path / f"in/{number}.png", SIZE, seed)
    made.write_pixels(tmp_path / f"in/m{number}.png", mask)
  (tmp_path / "in/m0.png").write_bytes(b"nothing")
  (tmp_path / "in/1.png").write_bytes((tmp_path / "in/2.png").read_bytes()[:99])
  pairs = [{"image": f"{i}.png", "mask": f"m{i}.png"} for i in range(7)]
  return f"matting:{made.write_json(tmp_path / 'in/list.json', pairs)}"


def contents(directory):
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_come_back_as_the_source_has_them(spec, tmp_path, capsys):
  output = tmp_path / "corpus"
  flags = ["--output", str(output), "--shard_size", "3", "--workers", "0"]
  assert command.main(["--input", spec, *flags]) == 0
  said = capsys.readouterr()
  assert "corpus: done: 4 images in 2 shards" in said.out
  assert "2 rejected, 1 duplicates" in said.out
  assert "packing 7/7" in said.err and "eta" in said.err
  source = opening.open_annotated(spec)
  wanted = [source[index] for index in (2, 3, 5, 6)]
  assert corpora.read_all(open_source(output)) == wanted
  assert list(verify.verify_corpus(output)) == []
  rejected = lines(output / "rejected.jsonl")
  assert [row["name"] for row in rejected] == ["0.png", "1.png"]
  assert rejected[0]["reason"] == "bad labels"
  assert "m0.png: no picture" in rejected[0]["detail"]
  assert rejected[1]["reason"] in ("truncated", "corrupt")
  assert lines(output / "duplicates.jsonl") == [
    {"name": "4.png", "same_as": "3.png"}
  ]
  assert not workspace.locate(output).exists()


def test_what_is_left_out_is_said_once_with_a_reason(spec, tmp_path, capsys):
  flags = ["--output", str(tmp_path / "corpus"), "--workers", "2"]
  people = {
    "images": [{"id": 1, "file_name": "2.png", "height": 20, "width": 14}],
    "annotations": [
      {
        **{"image_id": 1, "category_id": number, "bbox": [1, 1, 9, 9]},
        "keypoints": [5, 6, 2, 8, 9, 2],
      }
      for number in (1, 2)
    ],
    "categories": [
      {"id": 1, "name": "person", "keypoints": ["right_ankle", "nose"]},
      {"id": 2, "name": "dog", "keypoints": ["nose", "tail"]},
    ],
  }
  path = made.write_json(tmp_path / "in/people.json", people)
  coco = f"coco:{path},images={tmp_path / 'in'}"
  assert command.main(["--input", coco, "--input", spec, *flags]) == 0
  said = capsys.readouterr().err
  assert said.count("people.json: annotations left out: 1 of category dog") == 1
  assert "rejected 1: bad labels, such as 0.png: " in said
  record = open_source(tmp_path / "corpus")[0]
  (person,) = decode_labels(record.labels).people
  assert person.keypoints[0].tolist() == [8, 9, 2]
  open_source(coco)
  assert "1 of category dog" in capsys.readouterr().err


def test_the_bytes_do_not_depend_on_the_number_of_workers(spec, tmp_path):
  for workers in (0, 2):
    packing.pack(
      [spec], tmp_path / str(workers), shard_size=3, num_workers=workers
    )
  assert contents(tmp_path / "0") == contents(tmp_path / "2")


@pytest.mark.parametrize("last_read", range(7))
def test_an_interrupted_build_continues_to_the_same_bytes(
  spec, tmp_path, monkeypatch, last_read
):
  packing.pack([spec], tmp_path / "whole", shard_size=2)
  read, indices = packing._read_record, []

  def read_or_fail(specs, index):
    indices.append(index)
    if len(indices) > last_read:
      raise OSError("disk is gone")
    return read(specs, index)

  monkeypatch.setattr(packing, "_read_record", read_or_fail)
  with pytest.raises(OSError, match="disk is gone"):
    packing.pack([spec], tmp_path / "parts", shard_size=2)
  assert not (tmp_path / "parts").exists()
  monkeypatch.setattr(
    packing, "_read_record", lambda *given: indices.append(None) or read(*given)
  )
  packing.pack([spec], tmp_path / "parts", shard_size=2)
  assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
  assert indices.count(None) == 7 - (4 if last_read > 3 else 0)


def test_a_build_that_ended_between_two_last_names_continues(
  spec, tmp_path, monkeypatch
):
  packing.pack([spec], tmp_path / "whole", shard_size=2)
  replace, calls = packing.os.replace, []

  def replace_once(*given):
    if "shard-" in str(given[1]):
      calls.append(given)
      if len(calls) == 2:
        raise OSError("killed")
    replace(*given)

  monkeypatch.setattr(packing.os, "replace", replace_once)
  with pytest.raises(OSError, match="killed"):
    packing.pack([spec], tmp_path / "parts", shard_size=2)
  packing.pack([spec], tmp_path / "parts", shard_size=2)
  assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_several_datasets_are_packed_in_order(spec, tmp_path):
  made.write_pixels(tmp_path / "b.png", np.full((*SIZE, 4), 90, np.uint8))
  (tmp_path / "b.txt").write_text("b.png")
  other = f"matting:{tmp_path}/b.txt"
  packing.pack([other, spec], tmp_path / "corpus", shard_size=9)
  source = open_source(tmp_path / "corpus")
  names = [source.name(index) for index in range(len(source))]
  assert names == ["b.png", "2.png", "3.png", "5.png", "6.png"]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--input", "coco:a"], "images: is missing"),
    (["--input", "/data"], "expected FORMAT:PATH"),
    (["--shard_size", "0"], "shard_size=0 must be at least 1"),
    (["--workers", "-1"], "workers=-1 must be at least 0"),
    (["--output", "gs://b/c"], "the output must be on a disk"),
  ],
)
def test_bad_arguments_end_with_an_explanation(
  spec, tmp_path, capsys, flags, message
):
  given = ["--input", spec, "--output", str(tmp_path / "c"), *flags]
  assert command.main(given) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "c").exists()
  assert not workspace.locate(tmp_path / "c").exists()


def test_nothing_is_written_over(spec, tmp_path, capsys):
  given = ["--input", spec, "--workers", "0", "--output", str(tmp_path / "in")]
  assert command.main(given) == 2
  assert "in: exists and is not empty" in capsys.readouterr().err


def test_a_complete_output_is_said_to_be_so(spec, tmp_path, capsys):
  given = ["--workers", "0", "--output", str(tmp_path / "c"), "--input"]
  for state in ("done", "already complete"):
    assert command.main([*given, spec]) == 0
    assert f"c: {state}: 4 images in 1 shards" in capsys.readouterr().out
  before = contents(tmp_path / "c")
  others = ["--shard_size", "2"], ["--input", spec]
  for other in others:
    assert command.main([*given, spec, *other]) == 2
    assert "packed from other inputs" in capsys.readouterr().err
  assert command.main([*given, f"{spec},exif=stored"]) == 2
  path = tmp_path / "in/list.json"
  path.write_text(path.read_text() + " ")
  assert command.main([*given, spec]) == 2
  assert contents(tmp_path / "c") == before


def test_another_command_does_not_continue(spec, tmp_path, monkeypatch):
  def fail(specs, index):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(packing, "_read_record", fail)
    given = ["--input", spec, "--workers", "0", "--output"]
    assert command.main([*given, str(tmp_path / "c")]) == 130
  with pytest.raises(ValueError, match="unfinished build with shard_size=1000"):
    packing.pack([spec], tmp_path / "c", shard_size=2)


def test_labels_that_are_all_bad_leave_nothing_behind(spec, tmp_path):
  for number in range(7):
    (tmp_path / f"in/m{number}.png").write_bytes(b"nothing")
  with pytest.raises(ValueError, match="none of 7 .*0.png: bad labels"):
    packing.pack([spec], tmp_path / "c", shard_size=2)
  assert not workspace.locate(tmp_path / "c").exists()


def test_a_disk_that_fails_is_told_with_what_is_kept(
  spec, tmp_path, monkeypatch, capsys
):
  def fail(specs, index):
    raise sources.ShardReadError("a.png: Input/output error")

  monkeypatch.setattr(packing, "_read_record", fail)
  given = ["--input", spec, "--workers", "0", "--output", str(tmp_path / "c")]
  assert command.main(given) == 1
  said = capsys.readouterr().err
  assert "Input/output error; " in said and ".c.building is kept" in said


def test_decoding_finds_what_a_header_hides(spec, tmp_path):
  source = opening.open_annotated(spec)
  assert source[1].height == SIZE[0]  # Only the pixels are missing.
  with pytest.raises(images.ImageDecodeError):
    images.decode_image(source[1].image)
