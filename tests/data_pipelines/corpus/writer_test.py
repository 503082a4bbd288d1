"""A corpus that any worker writes, in any order, on a disk or in a bucket."""

import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading

import fsspec
import numpy as np
import pytest

from data_pipelines.common import storage
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import records, verify, writer
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora, fake_bucket

NUM_SHARDS, SHARD_SIZE = 5, 3
REJECTED = [{"name": "x.jpg", "reason": "empty file", "detail": ""}] * 2 + [
  {"name": "caf\udce9.jpg", "reason": "corrupt", "detail": "é"}
]
DUPLICATES = [{"name": "b.jpg", "same_as": "0/0.jpg"}]

# Writes a shard without end, and says when it has begun.
CHILD = """
import sys
from data_pipelines.corpus import writer
from tests.data_pipelines.corpus import writer_test

def without_end():
  number = 0
  while True:
    yield writer_test.make_record(number, "endless")
    number += 1
    if number == 3:
      print("begun", flush=True)

writer.write_shard(sys.argv[1], writer.number_shard(0, 5), without_end())
"""


def make_record(number, name):
  """A record of bytes that nobody decodes, other ones for each number."""
  image = np.random.default_rng(number).bytes(2000 + number)
  return records.Record(
    image, 7, 5 + number, records.hash_content(image), name, licence="CC0"
  )


def shard_records(number):
  return [
    make_record(SHARD_SIZE * number + row, f"{number}/{row}.jpg")
    for row in range(SHARD_SIZE)
  ]


def write_one(directory, number):
  """What a worker of an engine does."""
  return writer.write_shard(
    directory, writer.number_shard(number, NUM_SHARDS), shard_records(number)
  )


def commit(directory, entries):
  return writer.commit(
    directory, entries, REJECTED, DUPLICATES, {"inputs_hash": "1" * 64}
  )


def contents(directory):
  """All files, also hidden ones: name -> bytes."""
  return {
    name: storage.read_bytes(storage.join(directory, name))
    for name in storage.list_sizes(directory)
  }


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
  directory = tmp_path_factory.mktemp("writer") / "corpus"
  commit(directory, [write_one(directory, n) for n in range(NUM_SHARDS)])
  return contents(directory)


@contextlib.contextmanager
def open_bucket(root, monkeypatch):
  core = pytest.importorskip("gcsfs.core", reason="needs gcsfs")
  root.mkdir()
  with fake_bucket.FakeBucket(root) as bucket:
    for name, value in bucket.environment().items():
      monkeypatch.setenv(name, value)
    fsspec.register_implementation("gs", core.GCSFileSystem, clobber=True)
    options = {"token": "anon", "endpoint_url": bucket.endpoint}
    monkeypatch.setitem(fsspec.config.conf, "gs", options)
    yield bucket


@pytest.fixture(params=["disk", "file", "memory", "gs"])
def directory(request, tmp_path, monkeypatch):
  """An empty directory on a disk or in a bucket, as path or URL."""
  with contextlib.ExitStack() as stack:
    if request.param == "memory":
      fsspec.filesystem("memory").store.clear()
    if request.param == "gs":
      stack.enter_context(open_bucket(tmp_path / "bucket", monkeypatch))
    yield {
      "disk": str(tmp_path / "c"),
      "file": f"file://{tmp_path}/c",
      "memory": "memory://bucket/c",
      "gs": "gs://pictures/c",
    }[request.param]


def test_any_file_system_gets_the_same_files_and_no_others(directory, expected):
  entries = [write_one(directory, number) for number in range(NUM_SHARDS)]
  assert not manifests.is_corpus(directory)
  manifest = commit(directory, entries)
  assert contents(directory) == expected
  assert manifests.read_manifest(directory) == manifest
  if not directory.startswith(
    ("memory", "file")
  ):  # array_record reads no others.
    found = corpora.read_all(open_source(directory))
    assert found == [r for n in range(NUM_SHARDS) for r in shard_records(n)]
    assert list(verify.verify_corpus(directory)) == []


def test_a_shard_written_twice_and_by_two_at_once_is_the_same(
  directory, expected
):
  barrier = threading.Barrier(2)

  def write(number):
    barrier.wait()
    return write_one(directory, number)

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    entries = list(pool.map(write, [0, 0]))
  entries += [write_one(directory, n) for n in (4, 0, 3, 2, 1)]
  assert entries[0] == entries[1] == entries[3]
  commit(directory, entries)
  assert contents(directory) == expected


def test_an_engine_writes_in_any_order_and_some_twice(tmp_path, expected):
  jobs = [3, 0, 4, 1, 3, 2, 0, 4]
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
    running = [pool.submit(write_one, tmp_path / "c", n) for n in jobs]
    entries = [
      done.result() for done in concurrent.futures.as_completed(running)
    ]
  commit(tmp_path / "c", entries)
  assert contents(tmp_path / "c") == expected
  assert list(verify.verify_corpus(tmp_path / "c")) == []


def test_processes_write_to_a_bucket(tmp_path, monkeypatch, expected):
  with open_bucket(tmp_path / "bucket", monkeypatch):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
      jobs = [["gs://b/c"] * 6, [2, 0, 1, 4, 3, 2]]
      commit("gs://b/c", pool.map(write_one, *jobs))
  assert contents(tmp_path / "bucket" / "c") == expected


def test_a_large_shard_goes_up_in_two_requests(tmp_path, monkeypatch):
  image = np.random.default_rng(0).bytes(6 * 2**20)
  found = [records.Record(image, 1, 1, records.hash_content(image), "large")]
  with open_bucket(tmp_path / "bucket", monkeypatch) as bucket:
    writer.commit("gs://b/c", [writer.write_shard("gs://b/c", "0", found)])
    assert any("uploadType=resumable" in path for path, _ in bucket.requests)
  writer.commit(
    tmp_path / "c", [writer.write_shard(tmp_path / "c", "0", found)]
  )
  assert contents(tmp_path / "bucket" / "c") == contents(tmp_path / "c")


def test_an_upload_that_fails_leaves_nothing(tmp_path, monkeypatch):
  with open_bucket(tmp_path / "bucket", monkeypatch):
    core = sys.modules["gcsfs.core"]

    async def fail(*unused, **unused_too):
      raise RuntimeError("connection lost")

    with monkeypatch.context() as patched:
      patched.setattr(core, "simple_upload", fail)
      with pytest.raises(OSError, match="connection lost"):
        write_one("gs://b/c", 0)
    assert list((tmp_path / "bucket").rglob("*")) == []
    write_one("gs://b/c", 0)
  assert len(list((tmp_path / "bucket" / "c").iterdir())) == 2


@pytest.mark.parametrize("directory", ["disk", "memory"], indirect=True)
def test_records_that_fail_half_way_leave_nothing(directory, expected):
  def failing():
    yield make_record(0, "a")
    raise OSError("disk is gone")

  with pytest.raises(OSError, match="disk is gone"):
    writer.write_shard(directory, writer.number_shard(0, 5), failing())
  if not directory.startswith("memory"):
    assert os.listdir(directory) == []
  commit(
    directory, [write_one(directory, number) for number in range(NUM_SHARDS)]
  )
  assert contents(directory) == expected


def test_a_killed_writer_leaves_no_shard_and_hinders_nobody(tmp_path, expected):
  root = pathlib.Path(__file__).parents[3]
  directory = tmp_path / "c"
  process = subprocess.Popen(
    [sys.executable, "-c", CHILD, str(directory)],
    stdout=subprocess.PIPE,
    env={**os.environ, "PYTHONPATH": str(root)},
  )
  assert process.stdout.readline() == b"begun\n"
  (left,) = os.listdir(directory)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert left.startswith(".shard-") and not manifests.is_corpus(directory)
  entries = [write_one(directory, number) for number in range(1, NUM_SHARDS)]
  name = "shard-00000-of-00005.array_record"
  entry = manifests.ShardEntry(
    name, 3, 9, "0" * 64, "index-00000-of-00005.npz", "0" * 64
  )
  with pytest.raises(FileNotFoundError, match=name):
    commit(directory, [entry, *entries])
  commit(directory, [*entries, write_one(directory, 0)])
  assert contents(directory) == expected


def test_the_manifest_is_last(tmp_path, monkeypatch):
  entries = [write_one(tmp_path, number) for number in range(NUM_SHARDS)]

  def failing():
    yield DUPLICATES[0]
    raise OSError("disk is full")

  with pytest.raises(OSError, match="disk is full"):
    writer.commit(tmp_path, entries, REJECTED, failing())
  assert not manifests.is_corpus(tmp_path)
  seen, replace = [], os.replace

  def watch(source, target):
    replace(source, target)
    seen.append(os.path.basename(target))

  monkeypatch.setattr(os, "replace", watch)
  commit(tmp_path, entries)
  assert seen == ["rejected.jsonl", "duplicates.jsonl", "manifest.json"]


def test_a_shard_that_is_not_as_it_was_written_is_refused_by_name(directory):
  entries = [write_one(directory, number) for number in range(NUM_SHARDS)]
  other = dataclasses.replace(entries[2], index="index-other.npz")
  with pytest.raises(FileNotFoundError, match=f"{directory}/{other.index}: No"):
    commit(directory, [*entries[:2], other])
  shard = storage.join(directory, entries[3].file)
  files, inner = fsspec.core.url_to_fs(shard)
  files.pipe_file(inner, b"short")
  with pytest.raises(OSError, match=f"{shard}: 5 bytes, written were"):
    commit(directory, entries)
  assert not manifests.is_corpus(directory)


def test_two_shards_of_one_name_and_none_at_all_are_refused(tmp_path):
  entries = [write_one(tmp_path, 0)]
  other = writer.write_shard(
    tmp_path, writer.number_shard(0, NUM_SHARDS), shard_records(1)
  )
  with pytest.raises(ValueError, match=f"{other.file}: two shards of"):
    commit(tmp_path, [*entries, other])
  with pytest.raises(ValueError, match="at least one shard"):
    commit(tmp_path, [])
  assert not manifests.is_corpus(tmp_path)


@pytest.mark.parametrize("shard_id", ["", "a/b", "..", "1.2", "é"])
def test_an_id_that_is_no_name_is_refused(tmp_path, shard_id):
  with pytest.raises(ValueError, match="must be made of letters"):
    writer.write_shard(tmp_path, shard_id, shard_records(0))
  assert os.listdir(tmp_path) == []


def test_a_shard_without_records_is_refused(tmp_path):
  with pytest.raises(ValueError, match="shard-7.array_record: a shard needs"):
    writer.write_shard(tmp_path, "7", [])
  assert os.listdir(tmp_path) == []


def test_numbers_in_ids_count_as_numbers(tmp_path):
  ids = ["b-2", "10", "a-10", "9", "a-9", "100-of-101", "99-of-101"]
  entries = [
    writer.write_shard(tmp_path, shard_id, [make_record(n, shard_id)])
    for n, shard_id in enumerate(ids)
  ]
  writer.commit(tmp_path, entries)
  assert [
    record.name for record in corpora.read_all(open_source(tmp_path))
  ] == [*("9", "10", "99-of-101", "100-of-101", "a-9", "a-10", "b-2")]


def test_what_a_corpus_is_made_from_is_in_its_manifest(tmp_path):
  entries, hashes = [write_one(tmp_path, 0)], []
  for source in ("crawl-7", "crawl-8"):
    given = {"engine": "beam", "input": source}
    manifest = writer.commit(tmp_path, entries, provenance=given)
    assert {name: manifest[name] for name in given} == given
    assert list(verify.verify_corpus(tmp_path)) == []
    hashes.append(manifest["inputs_hash"])
  assert len(set(hashes)) == 2
  with pytest.raises(ValueError, match="the manifest has shards itself"):
    writer.commit(tmp_path, entries, provenance={"shards": []})


def test_lists_hold_what_they_were_given(tmp_path, expected):
  lines = expected["rejected.jsonl"].splitlines()
  assert [json.loads(line)["name"] for line in lines] == [
    row["name"] for row in REJECTED
  ]
  manifest = json.loads(expected["manifest.json"])
  assert manifest["rejected"]["by_reason"] == {"corrupt": 1, "empty file": 2}
  assert (manifest["rejected"]["count"], manifest["duplicates"]["count"]) == (
    3,
    1,
  )


def test_a_corpus_is_written_as_the_docs_say(
  photo_folder, tmp_path, monkeypatch
):
  docs = pathlib.Path(__file__).parents[3] / "docs" / "corpus.md"
  _, marker, rest = docs.read_text("utf-8").partition("## Writing one yourself")
  code = rest.partition("```python\n")[2].partition("```")[0]
  assert marker and code
  (tmp_path / "photo.jpg").write_bytes((photo_folder / "0.JPG").read_bytes())
  monkeypatch.chdir(tmp_path)
  exec(compile(code, str(docs), "exec"), {})
  assert list(verify.verify_corpus("made")) == []
  assert manifests.read_manifest("made")["engine"] == "mine"
