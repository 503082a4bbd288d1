import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines import build_corpus
from data_pipelines.building import workspace
from data_pipelines.corpus import records
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora


def _build(inputs, output, **options):
  return build_corpus.build_corpus(inputs, output, **options)


def _names(directory):
  return sorted(path.name for path in directory.iterdir())


def _contents(directory):
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def _lines(directory, name):
  text = (directory / name).read_text("utf-8")
  return [json.loads(line) for line in text.splitlines()]


def test_a_corpus_is_shards_indexes_lists_and_a_manifest(
  photo_folder, tmp_path
):
  output = tmp_path / "deep" / "corpus"
  manifest, is_new = _build([photo_folder], output, shard_size=3)
  assert is_new
  assert _names(output) == [
    "duplicates.jsonl",
    "index-00000-of-00003.npz",
    "index-00001-of-00003.npz",
    "index-00002-of-00003.npz",
    "manifest.json",
    "rejected.jsonl",
    "shard-00000-of-00003.array_record",
    "shard-00001-of-00003.array_record",
    "shard-00002-of-00003.array_record",
  ]
  assert _names(output.parent) == ["corpus"]
  assert json.loads((output / "manifest.json").read_text()) == manifest
  assert manifest["version"] == "1.0" and manifest["num_records"] == 7
  assert [s["num_records"] for s in manifest["shards"]] == [3, 3, 1]
  hashes = ""
  for shard in manifest["shards"]:
    data = (output / shard["file"]).read_bytes()
    assert shard["num_bytes"] == len(data)
    assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    index = (output / shard["index"]).read_bytes()
    assert shard["index_sha256"] == hashlib.sha256(index).hexdigest()
    hashes += shard["sha256"]
  assert manifest["num_bytes"] == sum(
    s["num_bytes"] for s in manifest["shards"]
  )
  total = hashlib.sha256(hashes.encode()).hexdigest()
  assert manifest["content_hash"] == total


def test_the_index_says_what_the_records_say(photo_folder, tmp_path):
  _build([photo_folder], tmp_path / "corpus", shard_size=5)
  source = open_source(tmp_path / "corpus")
  with np.load(tmp_path / "corpus" / "index-00001-of-00002.npz") as index:
    assert {name: index[name].dtype for name in index} == {
      "content_hash": np.uint8,
      "height": np.int32,
      "width": np.int32,
      "num_bytes": np.int64,
    }
    for number, record in enumerate([source[5], source[6]]):
      assert index["content_hash"][number].tobytes().hex() == (
        record.content_hash
      )
      assert index["height"][number] == record.height
      assert index["width"][number] == record.width
      assert index["num_bytes"][number] == len(record.image)


def test_duplicates_are_dropped_and_listed(photo_folder, tmp_path):
  (photo_folder / "more" / "copy.jpg").write_bytes(
    (photo_folder / "2.JPG").read_bytes()
  )
  output = tmp_path / "corpus"
  manifest, _ = _build([photo_folder], output)
  assert manifest["num_records"] == 7
  assert _lines(output, "duplicates.jsonl") == [
    {"name": "more/copy.jpg", "same_as": "2.JPG"}
  ]
  data = (output / "duplicates.jsonl").read_bytes()
  assert manifest["duplicates"] == {
    "count": 1,
    "file": "duplicates.jsonl",
    "sha256": hashlib.sha256(data).hexdigest(),
  }


def test_duplicates_are_found_across_inputs(photo_folder, tmp_path):
  other = tmp_path / "other"
  shutil.copytree(photo_folder, other)
  tar = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  output = tmp_path / "corpus"
  manifest, _ = _build([other, photo_folder, tar], output)
  assert manifest["num_records"] == 7
  assert manifest["duplicates"]["count"] == 14
  assert _lines(output, "duplicates.jsonl")[6:8] == [
    {"name": "photos/more/last.webp", "same_as": "other/more/last.webp"},
    {"name": "packed/0.JPG", "same_as": "other/0.JPG"},
  ]


def test_unusable_files_are_listed_with_their_reason(photo_folder, tmp_path):
  (photo_folder / "empty.png").write_bytes(b"")
  (photo_folder / "text.jpg").write_text("no photograph")
  data = (photo_folder / "4.JPG").read_bytes()
  (photo_folder / "cut.jpg").write_bytes(data[: len(data) // 2])
  (photo_folder / "nowhere.jpg").symlink_to("gone.jpg")
  os.mkfifo(photo_folder / "pipe.jpg")  # Opening it would wait for ever.
  output = tmp_path / "corpus"
  manifest, _ = _build([photo_folder], output)
  assert manifest["num_records"] == 7
  rows = _lines(output, "rejected.jsonl")
  assert [(row["name"], row["reason"]) for row in rows] == [
    ("cut.jpg", "truncated"),
    ("empty.png", "empty file"),
    ("nowhere.jpg", "cannot be read"),
    ("pipe.jpg", "cannot be read"),
    ("text.jpg", "not an image"),
  ]
  assert set(rows[0]) == {"name", "reason", "detail"}
  data = (output / "rejected.jsonl").read_bytes()
  assert manifest["rejected"] == {
    "count": 5,
    "by_reason": {
      "cannot be read": 2,
      "empty file": 1,
      "not an image": 1,
      "truncated": 1,
    },
    "file": "rejected.jsonl",
    "sha256": hashlib.sha256(data).hexdigest(),
  }


def test_a_tar_gives_the_shards_of_the_folder_it_was_made_of(
  photo_folder, tmp_path
):
  note = {"licence": "CC0", "person_boxes": [[1, 2.5, 3, 4]]}
  (photo_folder / "1.json").write_text(json.dumps(note))
  tar = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  _build([photo_folder], tmp_path / "a", shard_size=3)
  _build([tar], tmp_path / "b", shard_size=3)
  found, expected = _contents(tmp_path / "b"), _contents(tmp_path / "a")
  assert found.pop("manifest.json") != expected.pop("manifest.json")
  assert found == expected and len(found) == 8
  assert open_source(tmp_path / "b")[1].licence == "CC0"


def test_several_inputs_keep_their_names(photo_folder, tmp_path):
  other = tmp_path / "other"
  other.mkdir()
  (photo_folder / "0.JPG").rename(other / "1.JPG")
  _build([photo_folder, other], tmp_path / "corpus")
  source = open_source(tmp_path / "corpus")
  names = [source.name(index) for index in range(7)]
  assert names[0] == "photos/1.JPG" and names[6] == "other/1.JPG"


def test_sidecars_are_kept_in_the_records(photo_folder, tmp_path):
  said = {
    "source": "here",
    "licence": "CC0",
    "attribution": "mé",
    "person_boxes": [[0, 1, 20.5, 30]],
    "scores": {"sharpness": 0.25, "people": 2},
    "camera": "ignored",
  }
  (photo_folder / "1.json").write_text(json.dumps(said), "utf-8")
  (photo_folder / "2.json").write_text('{"licence": "MIT"}')
  _build([photo_folder], tmp_path / "corpus")
  source = open_source(tmp_path / "corpus")
  record = source[1]
  assert (record.source, record.licence) == ("here", "CC0")
  assert record.attribution == "mé"
  assert record.person_boxes == ((0, 1, 20.5, 30),)
  assert record.scores == {"sharpness": 0.25, "people": 2}
  assert (source[2].source, source[2].licence) == ("", "MIT")
  assert source[3] == open_source(photo_folder)[3]


@pytest.mark.parametrize(
  "text, detail",
  [
    ("{", "no JSON"),
    ("[]", "no JSON object"),
    ("[" * 100_000, "no JSON"),
    ('{"licence": 3}', "field licence is int"),
    ('{"source": "\\ud800"}', "surrogates not allowed"),
    ('{"scores": {"a": NaN}}', "scores"),
    ('{"scores": {"a": true}}', "scores"),
    ('{"scores": {"a": 1%s}}' % ("0" * 400), "scores"),
    ('{"person_boxes": [1]}', "not a list of lists"),
    ('{"person_boxes": [[1, 2, 3]]}', "not four numbers"),
    ('{"person_boxes": [[0.1, 0.2, 0.3, 0.4]]}', "in pixels"),
    ('{"person_boxes": [[30, 20, -10, 5]]}', "in pixels"),
  ],
)
def test_bad_notes_reject_the_image(photo_folder, tmp_path, text, detail):
  (photo_folder / "1.json").write_text(text)
  output = tmp_path / "corpus"
  manifest, _ = _build([photo_folder], output)
  assert manifest["num_records"] == 6
  (row,) = _lines(output, "rejected.jsonl")
  assert (row["name"], row["reason"]) == ("1.JPG", "bad notes")
  assert detail in row["detail"]


def test_a_name_that_is_no_utf8_is_packed_with_escapes(photo_folder, tmp_path):
  for name in (b"caf\xe9.png", b"caf\xe9 2.png"):
    (photo_folder / os.fsdecode(name)).write_bytes(
      (photo_folder / "1.JPG").read_bytes()
    )
  (photo_folder / os.fsdecode(b"bad\xe9.png")).write_bytes(b"")
  output = tmp_path / "corpus"
  _build([photo_folder], output)
  rows = _lines(output, "duplicates.jsonl")
  assert [row["name"] for row in rows] == ["caf\\xe9 2.png", "caf\\xe9.png"]
  assert _lines(output, "rejected.jsonl")[0]["name"] == "bad\\xe9.png"
  folder = tmp_path / os.fsdecode(b"f\xe9")
  photo_folder.rename(folder)
  (tmp_path / "more").mkdir()
  shutil.copy(folder / "1.JPG", tmp_path / "more")
  _build([folder, tmp_path / "more"], tmp_path / "again")
  assert open_source(tmp_path / "again")[0].name == "f\\xe9/0.JPG"


def test_the_same_inputs_again_are_already_complete(photo_folder, tmp_path):
  path = tmp_path / "corpus" / "manifest.json"
  first, _ = _build([photo_folder], tmp_path / "corpus")
  before = path.stat()
  again, is_new = _build([photo_folder], tmp_path / "corpus")
  assert again == first and not is_new
  after = path.stat()  # It was read, not written: same file, same time.
  assert (after.st_ino, after.st_mtime_ns) == (
    before.st_ino,
    before.st_mtime_ns,
  )


@pytest.mark.parametrize("change", ["file", "new", "metadata", "shard_size"])
def test_other_inputs_never_overwrite_a_corpus(photo_folder, tmp_path, change):
  _build([photo_folder], tmp_path / "corpus")
  options = {"shard_size": 5} if change == "shard_size" else {}
  if change == "file":
    (photo_folder / "1.JPG").write_bytes((photo_folder / "2.JPG").read_bytes())
  if change == "new":
    (photo_folder / "7.jpg").write_bytes((photo_folder / "2.JPG").read_bytes())
  if change == "metadata":
    (photo_folder / "2.json").write_text("{}")
  with pytest.raises(ValueError, match="built from other inputs"):
    _build([photo_folder], tmp_path / "corpus", **options)
  assert len(open_source(tmp_path / "corpus")) == 7


def test_a_corpus_inside_its_own_input_is_complete_too(photo_folder):
  _build([photo_folder], photo_folder / "corpus")
  assert not _build([photo_folder], photo_folder / "corpus")[1]


def test_a_changed_tar_never_overwrites_a_corpus(photo_folder, tmp_path):
  tar = corpora.tar_folder(photo_folder, tmp_path / "packed.tar")
  _build([tar], tmp_path / "corpus")
  assert not _build([tar], tmp_path / "corpus")[1]
  os.utime(tar)
  with pytest.raises(ValueError, match="built from other inputs"):
    _build([tar], tmp_path / "corpus")


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


def test_when_no_file_is_usable_it_says_why(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "x.jpg").write_bytes(b"")
  with pytest.raises(ValueError, match=r"none of 1 files .*x.jpg: empty file"):
    _build([tmp_path / "a"], tmp_path / "corpus")
  assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize("piece_size", [1, 2, 500])
def test_the_cut_into_pieces_changes_nothing(
  photo_folder, tmp_path, piece_size
):
  (photo_folder / "3b.jpg").write_bytes((photo_folder / "2.JPG").read_bytes())
  (photo_folder / "3c.jpg").write_bytes(b"")
  _build([photo_folder], tmp_path / "a", shard_size=2)
  sizes = workspace.Sizes(piece=piece_size)
  _build([photo_folder], tmp_path / "b", shard_size=2, sizes=sizes)
  assert _contents(tmp_path / "a") == _contents(tmp_path / "b")


def test_shards_allow_cheap_random_access(photo_folder, tmp_path):
  from array_record.python import array_record_module

  _build([photo_folder], tmp_path / "corpus")
  path = tmp_path / "corpus" / "shard-00000-of-00001.array_record"
  reader = array_record_module.ArrayRecordReader(str(path))
  assert "group_size:1," in reader.writer_options_string()
  reader.close()


def test_a_record_is_read_as_the_docs_say(photo_folder, tmp_path, monkeypatch):
  docs = pathlib.Path(__file__).parents[2] / "docs" / "corpus.md"
  _, marker, rest = docs.read_text("utf-8").partition("## Reading a record")
  code = rest.partition("```python\n")[2].partition("```")[0]
  assert marker and 5 <= len(code.splitlines()) <= 9
  _build([photo_folder], tmp_path / "corpus")
  monkeypatch.chdir(tmp_path)
  found = {}
  exec(code, found)
  assert found["record"]["name"] == "0.JPG"
  assert found["record"]["image"] == (photo_folder / "0.JPG").read_bytes()


def test_the_command_prints_progress_result_and_already_complete(
  photo_folder, tmp_path
):
  command = [sys.executable, "-m", "data_pipelines.build_corpus"]
  command += ["--input", photo_folder, "--output", tmp_path / "corpus"]
  for state in ("done", "already complete"):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"corpus: {state}: 7 images in 1 shards" in done.stdout
    assert "0 rejected, 0 duplicates" in done.stdout
    for text in ("listing 7 ", "scanning 7/7 ", "packing 7/7 ", "eta 00:00"):
      assert (text in done.stderr) == (state == "done")


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--input", "nowhere"], "nowhere: no such directory"),
    (["--input", "nothing.tar"], "nothing.tar: no such directory"),
    (["--input", "no*.tar"], "no*.tar: matches no file"),
    (["--input", ".", "--shard_size", "0"], "shard_size=0"),
    (["--input", ".", "--workers", "-1"], "workers=-1"),
    (["--input", "empty"], "empty: no images"),
    (["--input", ".", "--input", "."], "given twice"),
    (["--input", "zipped.tar"], "zipped.tar: "),
    (["--input", ".", "--output", "gs://b/c"], "gs://b/c: the output must be"),
    (["--input", "what://b/c"], "what://b/c"),
  ],
)
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing(
  photo_folder, monkeypatch, capsys, arguments, message
):
  monkeypatch.chdir(photo_folder)
  (photo_folder / "empty").mkdir()
  os.rename(
    shutil.make_archive("zipped", "gztar", root_dir="more"), "zipped.tar"
  )
  before = _names(photo_folder)
  arguments = ["--output", "out", "--workers", "0", *arguments]
  assert build_corpus.main(arguments) == 2
  lines = capsys.readouterr().err.splitlines()
  assert message in lines[-1]
  assert all(line.startswith("listing") for line in lines[:-1])
  assert _names(photo_folder) == before


def test_records_of_every_kind_survive_the_way(photo_folder, tmp_path):
  _build([photo_folder], tmp_path / "corpus")
  source = open_source(tmp_path / "corpus")
  for index in range(7):
    record = source[index]
    assert records.hash_content(record.image) == record.content_hash
    assert record == open_source(photo_folder)[index]
