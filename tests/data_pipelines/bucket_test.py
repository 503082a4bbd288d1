"""Reads from gs://, over HTTP on this machine."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import fsspec
import pytest
from array_record.python import array_record_module

from data_pipelines import sources
from data_pipelines.common import images, storage
from data_pipelines.humans_tfds import __main__ as humans_main
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora, fake_bucket

pytest.importorskip("gcsfs", reason="needs gcsfs")

KINDS = ["photos", "corpus", "photos.tar", "humans"]


@pytest.fixture
def root(photo_folder, tmp_path):
  """Seven photographs in every form that can be read."""
  root = tmp_path / "bucket"
  shutil.copytree(photo_folder, root / "photos")
  corpora.pack_folder(photo_folder, root / "corpus", shard_size=3)
  corpora.tar_folder(photo_folder, root / "photos.tar")
  return root


@pytest.fixture
def bucket(root):
  """`root` as gs://pictures, for this process and those it starts."""
  with fake_bucket.serving(root) as bucket:
    yield bucket


def retrying(spec, attempts=2, timeout=0.4):
  return sources.RetryingSource(
    open_source(f"gs://pictures/{spec}"),
    attempts=attempts,
    timeout=timeout,
    backoff=0.01,
  )


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_gives_the_same_records_as_a_disk(
  bucket, root, kind, tmp_path
):
  spec = kind
  if kind == "humans":
    humans_main.build("gs://pictures/corpus", tmp_path / "tfds")
    spec = "humans/1.0.0"
    shutil.copytree(tmp_path / "tfds" / "humans", root / "humans")
  on_disk = open_source(root / spec)
  source = open_source(f"gs://pictures/{spec}")
  assert corpora.read_all(source) == corpora.read_all(on_disk)
  for index in range(7):
    assert source.name(index) == on_disk.name(index)
    assert source.location(index) == on_disk.location(index).replace(
      str(root), "gs://pictures"
    )


def test_opening_a_shard_reads_little_of_it(bucket, root):
  shard = root / "shard"
  writer = array_record_module.ArrayRecordWriter(
    str(shard), "group_size:1,uncompressed"
  )
  for number in range(1000):
    writer.write(bytes([number % 256]) * 2000)
  writer.close()
  reader = sources.ShardReader(["gs://pictures/shard"], [1000])
  assert reader[700] == bytes([700 % 256]) * 2000
  assert [wanted for _, wanted in bucket.requests][:-1] == ["bytes=-131072"]
  bucket.requests.clear()
  assert reader[3] == bytes([3]) * 2000
  assert len(bucket.requests) == 1


def test_tars_in_a_bucket_may_be_given_by_a_glob(bucket, root):
  shutil.copy(root / "photos.tar", root / "more.tar")
  source = open_source("gs://pictures/*.tar")
  assert len(source) == 14
  assert source.location(0) == "gs://pictures/more.tar"
  assert source.location(7) == "gs://pictures/photos.tar"


def test_a_shard_is_not_read_before_it_is_needed(bucket):
  source = open_source("gs://pictures/corpus")
  assert not any("array_record" in path for path, _ in bucket.requests)
  source[0], source[1], source[2]
  shards = {path for path, _ in bucket.requests if "array_record" in path}
  assert len(shards) == 1


def test_an_image_in_a_tar_is_one_request_of_its_bytes(bucket):
  source = open_source("gs://pictures/photos.tar")
  bucket.requests.clear()
  size = len(source[3].image)
  ((_, wanted),) = bucket.requests
  start, _, end = wanted.removeprefix("bytes=").partition("-")
  assert int(end) - int(start) + 1 == size


@pytest.mark.parametrize("spec", ["photos", "corpus", "photos.tar"])
def test_a_busy_bucket_is_asked_again(bucket, spec):
  source = open_source(f"gs://pictures/{spec}")
  wanted = source[0]
  bucket.fail_next(1)
  assert source[0] == wanted  # The clients' own second attempt.
  assert bucket.num_failed == 1


def test_a_bucket_that_stays_busy_is_given_up(bucket):
  source = retrying("corpus")
  bucket.fail_next(10**6)
  start = time.monotonic()
  with pytest.raises(
    sources.ShardReadError,
    match="gs://pictures/corpus/shard-00000.*: record 0: no answer within 0.4",
  ):
    source[0]
  assert time.monotonic() - start < 3


@pytest.mark.parametrize("spec", ["photos", "corpus", "photos.tar"])
def test_a_bucket_that_hangs_is_given_up_and_may_come_back(bucket, spec):
  source = retrying(spec)
  wanted = retried(source, 0)
  bucket.stall_next(10**6)
  for index in (0, 4):  # Of a shard that is open, and of one that is not.
    start = time.monotonic()
    with pytest.raises(
      sources.ShardReadError,
      match=f"gs://pictures/{spec}.*: no answer .*given up after 2 attempts",
    ):
      source[index]
    assert 0.8 <= time.monotonic() - start < 3
  threading.Timer(0.2, bucket.resume).start()
  assert retried(source, 4).name == "4.JPG"
  assert retried(source, 0) == wanted


def retried(source, index):
  """Reads with the patience of a training run."""
  patient = sources.RetryingSource(source, attempts=20, timeout=5, backoff=0.05)
  return patient[index]


def test_reads_that_hang_do_not_hold_up_later_ones(bucket):
  source = retrying("corpus", timeout=2)
  bucket.stall_next(3)  # One for each of the reads below.
  results = []
  threads = [
    threading.Thread(target=lambda i=i: results.append(source[i]))
    for i in (0, 1, 2)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(10)
  assert bucket.num_stalled == 3
  assert sorted(record.name for record in results) == [
    *("0.JPG", "1.JPG", "2.JPG")
  ]


def test_a_shard_that_vanishes_and_comes_back_is_waited_for(bucket, root):
  source = open_source("gs://pictures/corpus")
  shard = root / "corpus" / "shard-00001-of-00003.array_record"
  away = shard.rename(root / "away")
  with pytest.raises(
    sources.ShardReadError, match="gs://pictures/corpus/shard-00001.*No such"
  ):
    source[4]
  threading.Timer(0.3, lambda: away.rename(shard)).start()
  assert retried(source, 4).name == "4.JPG"


def test_a_tar_or_file_that_vanished_is_named(bucket, root):
  tar = open_source("gs://pictures/photos.tar")
  folder = open_source("gs://pictures/photos")
  (root / "photos.tar").unlink()
  (root / "photos" / "0.JPG").unlink()
  with pytest.raises(sources.ShardReadError, match="gs://pictures/photos.tar"):
    tar[0]
  with pytest.raises(images.ImageDecodeError, match="cannot be read"):
    folder[0]


def test_what_is_not_in_the_bucket_is_named(bucket):
  with pytest.raises(ValueError, match="gs://pictures/none: no such directory"):
    open_source("gs://pictures/none")
  with pytest.raises(sources.ShardReadError, match="gs://pictures/none.tar"):
    open_source("gs://pictures/none.tar")


def test_a_missing_shard_is_named_at_once(bucket, root):
  (root / "corpus" / "shard-00002-of-00003.array_record").unlink()
  with pytest.raises(
    sources.ShardReadError, match="gs://pictures/corpus/shard-00002.*No such"
  ):
    open_source("gs://pictures/corpus")


@pytest.mark.parametrize("spec", ["corpus", "photos.tar"])
def test_a_process_ends_although_its_bucket_hangs(bucket, spec):
  script = textwrap.dedent(f"""
    import sys
    from data_pipelines import sources
    from data_pipelines.open_source import open_source
    source = open_source("gs://pictures/{spec}")
    print(source[0].name, flush=True)
    source = sources.RetryingSource(
      source, attempts=2, timeout=0.3, backoff=0
    )
    sys.stdin.readline()
    try:
      source[5]
    except sources.ShardReadError as error:
      print(error, flush=True)
  """)
  process = subprocess.Popen(
    [sys.executable, "-c", script],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ,
  )
  assert process.stdout.readline() == "0.JPG\n"
  bucket.stall_next(10**6)
  start = time.monotonic()
  out, problems = process.communicate("go\n", timeout=30)
  assert process.returncode == 0, problems
  assert f"gs://pictures/{spec}" in out and "no answer within 0.3 s" in out
  assert time.monotonic() - start < 5


def test_another_bucket_than_googles_holds_tars_and_folders(photo_folder, root):
  files = fsspec.filesystem("memory")
  files.store.clear()
  files.put(str(root / "photos"), "/pictures/photos", recursive=True)
  files.put_file(str(root / "photos.tar"), "/pictures/photos.tar")
  wanted = corpora.read_all(sources.FolderSource(photo_folder))
  for spec in ("photos", "photos.tar", "*.tar"):
    source = open_source(f"memory://pictures/{spec}")
    assert corpora.read_all(source) == wanted
  files.put(str(root / "corpus"), "/pictures/corpus", recursive=True)
  assert storage.exists("memory://pictures/corpus/manifest.json")
  with pytest.raises(ValueError, match="a disk or gs:// only"):
    open_source("memory://pictures/corpus")
  files.store.clear()
