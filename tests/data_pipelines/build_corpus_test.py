import hashlib
import json
import os
import subprocess
import sys

import pytest

from data_pipelines import build_corpus, corpus_writer, records, sources


def _build(inputs, output, **options):
  return build_corpus.build_corpus(inputs, output, **options)


def _names(directory):
  return sorted(path.name for path in directory.iterdir())


def test_a_corpus_is_shards_and_a_manifest(photo_folder, tmp_path):
  output = tmp_path / "deep" / "corpus"
  manifest, is_new = _build([photo_folder], output, shard_size=3)
  assert is_new
  assert _names(output) == [
    "manifest.json",
    "shard-00000-of-00003.array_record",
    "shard-00001-of-00003.array_record",
    "shard-00002-of-00003.array_record",
  ]
  assert json.loads((output / "manifest.json").read_text()) == manifest
  assert manifest["version"] == "1.0" and manifest["num_records"] == 7
  assert [s["num_records"] for s in manifest["shards"]] == [3, 3, 1]
  hashes = ""
  for shard in manifest["shards"]:
    data = (output / shard["file"]).read_bytes()
    assert shard["num_bytes"] == len(data)
    assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    hashes += shard["sha256"]
  assert manifest["num_bytes"] == sum(
    s["num_bytes"] for s in manifest["shards"]
  )
  total = hashlib.sha256(hashes.encode()).hexdigest()
  assert manifest["content_hash"] == total


def test_duplicates_are_dropped_and_listed(photo_folder, tmp_path):
  (photo_folder / "more" / "copy.jpg").write_bytes(
    (photo_folder / "2.JPG").read_bytes()
  )
  manifest, _ = _build([photo_folder], tmp_path / "corpus")
  assert manifest["num_records"] == 7
  assert manifest["duplicates"] == [
    {"name": "more/copy.jpg", "same_as": "2.JPG"}
  ]


def test_unusable_files_are_listed_with_their_reason(photo_folder, tmp_path):
  (photo_folder / "empty.png").write_bytes(b"")
  (photo_folder / "text.jpg").write_text("no photograph")
  data = (photo_folder / "4.JPG").read_bytes()
  (photo_folder / "cut.jpg").write_bytes(data[: len(data) // 2])
  manifest, _ = _build([photo_folder], tmp_path / "corpus")
  assert manifest["num_records"] == 7
  assert {item["name"]: item["reason"] for item in manifest["rejected"]} == {
    "empty.png": "empty file",
    "text.jpg": "not an image",
    "cut.jpg": "truncated",
  }


def test_several_inputs_keep_their_folder_names(photo_folder, tmp_path):
  other = tmp_path / "other"
  other.mkdir()
  (photo_folder / "0.JPG").rename(other / "1.JPG")
  _build([photo_folder, other], tmp_path / "corpus")
  source = sources.open_source(tmp_path / "corpus")
  names = [source.name(index) for index in range(7)]
  assert names[0] == "photos/1.JPG" and names[6] == "other/1.JPG"
  with pytest.raises(ValueError, match="already has the name photos/1.JPG"):
    _build([photo_folder, photo_folder], tmp_path / "twice")


def test_attribution_is_kept_in_the_records(photo_folder, tmp_path):
  notes = tmp_path / "attribution.json"
  said = {"source": "here", "licence": "CC0", "attribution": "me"}
  notes.write_text(json.dumps({"1.JPG": said, "2.JPG": {"licence": "MIT"}}))
  _build([photo_folder], tmp_path / "corpus", attribution=notes)
  source = sources.open_source(tmp_path / "corpus")
  found = [(r.source, r.licence, r.attribution) for r in (source[1], source[2])]
  assert found == [("here", "CC0", "me"), ("", "MIT", "")]


@pytest.mark.parametrize(
  "text, message",
  [
    ("{", "cannot be read"),
    ("[]", "expected a JSON object"),
    ('{"9.JPG": {}}', "no input image has the name 9.JPG"),
    ('{"1.JPG": {"license": "MIT"}}', "1.JPG: expected texts for"),
    ('{"1.JPG": {"licence": 3}}', "1.JPG: expected texts for"),
  ],
)
def test_a_wrong_attribution_file_is_named(
  photo_folder, tmp_path, text, message
):
  notes = tmp_path / "attribution.json"
  notes.write_text(text)
  with pytest.raises(ValueError, match=f"attribution.json: {message}"):
    _build([photo_folder], tmp_path / "corpus", attribution=notes)
  assert not (tmp_path / "corpus").exists()


def test_the_same_inputs_again_are_already_complete(photo_folder, tmp_path):
  first, _ = _build([photo_folder], tmp_path / "corpus")
  before = os.stat(tmp_path / "corpus" / "manifest.json")
  again, is_new = _build([photo_folder], tmp_path / "corpus")
  assert again == first and not is_new
  assert os.stat(tmp_path / "corpus" / "manifest.json") == before


@pytest.mark.parametrize("change", ["file", "new", "shard_size"])
def test_other_inputs_never_overwrite_a_corpus(photo_folder, tmp_path, change):
  _build([photo_folder], tmp_path / "corpus")
  options = {"shard_size": 5} if change == "shard_size" else {}
  if change == "file":
    (photo_folder / "1.JPG").write_bytes((photo_folder / "2.JPG").read_bytes())
  if change == "new":
    (photo_folder / "7.jpg").write_bytes((photo_folder / "2.JPG").read_bytes())
  with pytest.raises(ValueError, match="built from other inputs"):
    _build([photo_folder], tmp_path / "corpus", **options)
  assert len(sources.open_source(tmp_path / "corpus")) == 7


def test_a_directory_with_other_things_is_not_touched(photo_folder, tmp_path):
  (tmp_path / "corpus").mkdir()
  (tmp_path / "corpus" / "thesis.txt").write_text("years of work")
  with pytest.raises(ValueError, match="exists and is not empty"):
    _build([photo_folder], tmp_path / "corpus")
  assert _names(tmp_path / "corpus") == ["thesis.txt"]
  assert _names(tmp_path) == ["corpus", "photos"]


def test_an_empty_output_directory_is_filled(photo_folder, tmp_path):
  (tmp_path / "corpus").mkdir()
  assert _build([photo_folder], tmp_path / "corpus")[1]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_build_leaves_nothing(
  photo_folder, tmp_path, monkeypatch, error
):
  encode, calls = records.encode_record, []

  def fail_at_the_fifth(record):
    calls.append(record)
    if len(calls) == 5:
      raise error
    return encode(record)

  monkeypatch.setattr(records, "encode_record", fail_at_the_fifth)
  with pytest.raises(type(error)):
    _build([photo_folder], tmp_path / "corpus", shard_size=2)
  assert _names(tmp_path) == ["photos"]


def test_when_no_file_is_usable_it_says_why(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "x.jpg").write_bytes(b"")
  with pytest.raises(ValueError, match=r"none of 1 files .*x.jpg: empty file"):
    _build([tmp_path / "a"], tmp_path / "corpus")
  assert _names(tmp_path) == ["a"]


def test_equal_inputs_give_equal_shards(photo_folder, tmp_path):
  manifests = [
    _build([photo_folder], tmp_path / name, shard_size=3)[0] for name in "xy"
  ]
  assert manifests[0] == manifests[1]


def test_shards_allow_cheap_random_access(photo_folder, tmp_path):
  from array_record.python import array_record_module

  _build([photo_folder], tmp_path / "corpus")
  path = tmp_path / "corpus" / "shard-00000-of-00001.array_record"
  reader = array_record_module.ArrayRecordReader(str(path))
  assert "group_size:1," in reader.writer_options_string()
  reader.close()


def test_the_command_prints_progress_result_and_already_complete(
  photo_folder, tmp_path
):
  command = [sys.executable, "-m", "data_pipelines.build_corpus"]
  command += ["--input", photo_folder, "--output", tmp_path / "corpus"]
  for state in ("done", "already complete"):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"corpus: {state}: 7 images in 1 shards" in done.stdout
    progress = "packing 7/7  " in done.stderr and "img/s  eta" in done.stderr
    assert progress == (state == "done")


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--input", "nowhere", "--output", "out"], "nowhere: no such directory"),
    (["--input", ".", "--output", "out", "--shard_size", "0"], "shard_size=0"),
    (["--input", "empty", "--output", "out"], "empty: no images"),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
  photo_folder, monkeypatch, capsys, arguments, message
):
  monkeypatch.chdir(photo_folder)
  (photo_folder / "empty").mkdir()
  assert build_corpus.main(arguments) == 2
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and message in lines[0]


def test_atomic_directory_replaces_nothing(tmp_path):
  (tmp_path / "there").write_text("a file")
  with pytest.raises(ValueError, match="exists"):
    with corpus_writer.atomic_directory(tmp_path / "there"):
      raise AssertionError("must not be entered")
