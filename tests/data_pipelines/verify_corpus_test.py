import hashlib
import json
import re
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from array_record.python import array_record_module
from hypothesis import strategies

from data_pipelines import build_corpus, verify_corpus
from data_pipelines.corpus import manifest, records, verify

SHARD = "shard-00001-of-00003.array_record"  # Records 3, 4 and 5.
INDEX = "index-00001-of-00003.npz"


@pytest.fixture
def corpus(photo_folder, tmp_path):
  (photo_folder / "bad.png").write_bytes(b"")
  (photo_folder / "copy.jpg").write_bytes((photo_folder / "2.JPG").read_bytes())
  build_corpus.build_corpus([photo_folder], tmp_path / "corpus", shard_size=3)
  return tmp_path / "corpus"


def _verify(directory):
  return list(verify.verify_corpus(directory))


def _read_records(path):
  reader = array_record_module.ArrayRecordReader(str(path))
  found = [records.decode_record(data) for data in reader.read_all()]
  reader.close()
  return found


def _flip(path, position, bit=2):
  data = bytearray(path.read_bytes())
  data[position] ^= 1 << bit
  path.write_bytes(data)


def _rewrite(corpus, change):
  """Changes the manifest and makes its own hash right again."""
  path = corpus / "manifest.json"
  found = json.loads(path.read_text())
  change(found)
  found["manifest_hash"] = manifest.hash_manifest(found)
  path.write_text(json.dumps(found))


def test_a_whole_corpus_has_no_damage(corpus):
  assert _verify(corpus) == []


def test_other_files_and_unknown_entries_are_no_damage(corpus):
  (corpus / "ATTRIBUTION.md").write_text("me")
  _rewrite(corpus, lambda found: found.update(version="1.9", added=[1]))
  assert _verify(corpus) == []


def test_a_flipped_bit_in_an_image_names_the_record(corpus):
  record = _read_records(corpus / SHARD)[1]
  data = (corpus / SHARD).read_bytes()
  _flip(corpus / SHARD, data.index(record.image) + len(record.image) // 2)
  hashed, damaged = _verify(corpus)
  assert re.fullmatch(
    f"{SHARD}: sha256 is \\w{{64}}, the manifest says \\w{{64}}", hashed
  )
  assert damaged.startswith(
    f"{SHARD}: record 4 (content_hash {record.content_hash}): cannot be read: "
  )


def test_a_truncated_shard_is_named(corpus):
  data = (corpus / SHARD).read_bytes()
  (corpus / SHARD).write_bytes(data[: len(data) // 2])
  damages = _verify(corpus)
  assert damages[0] == (
    f"{SHARD}: num_bytes is {len(data) // 2}, the manifest says {len(data)}"
  )
  assert damages[1].startswith(f"{SHARD}: cannot be opened: ")
  assert len(damages) == 2


@pytest.mark.parametrize(
  "name", [SHARD, INDEX, "rejected.jsonl", "duplicates.jsonl"]
)
def test_a_missing_file_is_named(corpus, name):
  (corpus / name).unlink()
  assert _verify(corpus) == [f"{name}: No such file or directory"]


@pytest.mark.parametrize(
  "name, count", [("rejected.jsonl", "lines is 2, the manifest says 1")]
)
def test_a_line_too_many_is_named(corpus, name, count):
  with (corpus / name).open("a") as file:
    file.write("{}\n")
  assert [damage.partition(" is ")[0] for damage in _verify(corpus)] == [
    f"{name}: sha256",
    f"{name}: lines",
  ]
  assert _verify(corpus)[1] == f"{name}: {count}"


@pytest.mark.parametrize(
  "name", ["shard-00003-of-00003.array_record", "index-00007-of-00008.npz"]
)
def test_an_extra_shard_is_named(corpus, name):
  (corpus / name).write_bytes(b"")
  assert _verify(corpus) == [f"{name}: the manifest does not list it"]


def test_a_flipped_bit_in_an_index_is_named(corpus):
  _flip(corpus / INDEX, 300)
  (damage,) = _verify(corpus)
  assert damage.startswith(f"{INDEX}: sha256 is ")


@pytest.mark.parametrize(
  "change, message",
  [
    ({"height": [1, 2, 3]}, "height is .*, its index says 1"),
    ({"num_bytes": [0, 0, 0]}, "num_bytes is .*, its index says 0"),
    ({"content_hash": np.zeros((3, 32), np.uint8)}, "content_hash is .* 0000"),
    ({"width": [1, 2]}, "width is int64 .2,., expected int32 .3,."),
    ({"width": ["a", "b", "c"]}, "width is <U1 .3,., expected int32 .3,."),
    (None, "no index"),
  ],
)
def test_an_index_that_says_something_else_is_named(corpus, change, message):
  path = corpus / INDEX
  if change is None:
    path.write_bytes(b"not a zip")
  else:
    with np.load(path) as arrays:
      kept = {**arrays}
    for name, values in change.items():
      kept[name] = np.array(values)
      if len(values) == 3 and not isinstance(values[0], str):
        kept[name] = kept[name].astype(arrays_dtype(name))
    with path.open("wb") as file:
      np.savez(file, **kept)

  def accept(found):
    data = path.read_bytes()
    found["shards"][1]["index_sha256"] = hashlib.sha256(data).hexdigest()

  _rewrite(corpus, accept)
  damages = _verify(corpus)
  assert damages and all(re.search(message, damages[0]) for _ in damages)
  if "its index says" in message:
    assert re.match(rf"{SHARD}: record 3 \(3.JPG\): ", damages[0])


def arrays_dtype(name):
  return {"content_hash": np.uint8, "num_bytes": np.int64}.get(name, np.int32)


def test_a_shard_with_other_records_is_named(corpus):
  """As if a shard of another corpus had been copied over it."""
  found = _read_records(corpus / SHARD)
  changed = records.make_record(
    image=found[1].image + b"x",
    height=found[1].height,
    width=found[1].width,
    content_hash=found[1].content_hash,
    name="other.jpg",
  )
  writer = array_record_module.ArrayRecordWriter(str(corpus / SHARD))
  for record in (found[0], changed):
    writer.write(records.encode_record(record))
  writer.close()

  def accept(manifest):
    data = (corpus / SHARD).read_bytes()
    manifest["shards"][1]["num_bytes"] = len(data)
    manifest["shards"][1]["sha256"] = hashlib.sha256(data).hexdigest()

  _rewrite(corpus, accept)
  assert [
    damage for damage in _verify(corpus) if not damage.startswith("manifest")
  ] == [
    f"{SHARD}: num_records is 2, the manifest says 3",
    f"{SHARD}: record 4 (other.jpg): its image bytes do not have its "
    "content_hash",
    f"{SHARD}: record 4 (other.jpg): num_bytes is {len(changed.image)}, its "
    f"index says {len(found[1].image)}",
  ]


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda m: m.update(num_records=9), "num_records is 9, its shards say 7"),
    (lambda m: m.update(num_bytes=9), "num_bytes is 9, its shards say"),
    (lambda m: m.update(content_hash=""), "content_hash is , its shards say"),
    (lambda m: m["rejected"].update(count=2), "not the sum of by_reason"),
    (lambda m: m.pop("shards"), "entry shards is missing"),
    (lambda m: m.update(version="2.0"), "version=2.0 is newer"),
    (lambda m: m.update(format="x"), "format='x', expected"),
    (lambda m: m["shards"].pop(), "num_records is 7, its shards say 6"),
  ],
)
def test_a_wrong_manifest_is_named(corpus, change, message):
  _rewrite(corpus, change)
  damages = _verify(corpus)
  assert "manifest.json: " in damages[0] and message in damages[0]


def test_a_changed_manifest_is_noticed_by_its_own_hash(corpus):
  path = corpus / "manifest.json"
  found = json.loads(path.read_text())
  path.write_text(json.dumps({**found, "inputs_hash": "0" * 64}))
  (damage,) = _verify(corpus)
  assert damage.startswith("manifest.json: manifest_hash is ")


@hypothesis.settings(
  max_examples=60,
  deadline=None,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
  strategies.integers(0, 2**40), strategies.integers(0, 7), strategies.data()
)
def test_any_flipped_bit_in_any_file_is_found_and_named(
  corpus, position, bit, data
):
  files = [path for path in sorted(corpus.iterdir()) if path.stat().st_size]
  path = data.draw(strategies.sampled_from(files))
  before = path.read_bytes()
  _flip(path, position % len(before), bit)
  try:
    damages = _verify(corpus)
  finally:
    path.write_bytes(before)
  assert any(path.name in damage for damage in damages)


def test_the_command_says_whole_or_names_damages(corpus):
  command = [sys.executable, "-m", "data_pipelines.verify_corpus"]
  command += ["--data", corpus]
  done = subprocess.run(
    [*command, "--workers", "2"], capture_output=True, text=True
  )
  assert done.returncode == 0
  assert done.stdout.endswith(
    "corpus: whole: 7 images in 3 shards, 0.4 MB, 1 rejected, 1 duplicates\n"
  )
  assert "verifying 7/7  " in done.stderr
  (corpus / INDEX).unlink()
  (corpus / SHARD).unlink()
  done = subprocess.run(
    [*command, "--workers", "0"], capture_output=True, text=True
  )
  assert done.returncode == 1
  assert done.stdout.splitlines() == [
    f"{INDEX}: No such file or directory",
    f"{SHARD}: No such file or directory",
  ]


def test_a_url_that_cannot_be_read_is_refused(corpus):
  with pytest.raises(ValueError, match="from a disk or gs:// only"):
    _verify(f"file://{corpus}")


def test_no_corpus_is_exit_code_2(photo_folder, capsys):
  arguments = ["--data", str(photo_folder), "--workers", "0"]
  assert verify_corpus.main(arguments) == 2
  captured = capsys.readouterr()
  assert captured.err == (
    f"verify_corpus: {photo_folder}: no corpus: it has no manifest.json.\n"
  )
  assert not captured.out
