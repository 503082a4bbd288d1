import concurrent.futures
import multiprocessing
import pickle
import random
import threading

import pytest
from array_record.python import array_record_module

from data_pipelines import sources
from data_pipelines.sources import array_record
from tests.data_pipelines import corpora

NUM_SHARDS = array_record.MAX_OPEN_SHARDS + 16
COUNTS = [1 + number % 3 for number in range(NUM_SHARDS)]
RECORDS = [
  f"record {position} of shard {number}".encode()
  for number, count in enumerate(COUNTS)
  for position in range(count)
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """More shards than may be open, of one, two or three records."""
  directory = tmp_path_factory.mktemp("shards")
  for number, count in enumerate(COUNTS):
    writer = array_record_module.ArrayRecordWriter(
      str(directory / str(number)), "group_size:1"
    )
    for position in range(count):
      writer.write(f"record {position} of shard {number}".encode())
    writer.close()
  return directory


@pytest.fixture
def reader(directory):
  paths = [str(directory / str(number)) for number in range(NUM_SHARDS)]
  return sources.ShardReader(paths, COUNTS)


def test_records_are_numbered_through_all_shards(reader, directory):
  assert len(reader) == len(RECORDS)
  assert [reader[index] for index in range(len(reader))] == RECORDS
  assert reader.location(0) == str(directory / "0")
  assert reader.location(2) == str(directory / "1")
  assert reader.location(len(reader) - 1) == str(
    directory / f"{NUM_SHARDS - 1}"
  )


@pytest.mark.parametrize("index", [-1, len(RECORDS)])
def test_an_index_out_of_range_is_an_error(reader, index):
  for read in (reader.__getitem__, reader.location):
    with pytest.raises(IndexError, match=f"index={index} is not in"):
      read(index)


def test_shards_without_records_are_passed_over(directory):
  paths = [str(directory / str(number)) for number in (0, 5, 1)]
  reader = sources.ShardReader(paths, [1, 0, 2])
  wanted = [f"record {p} of shard {n}".encode() for p, n in ((0, 0), (0, 1))]
  assert [reader[0], reader[1]] == wanted and len(reader) == 3
  assert len(sources.ShardReader([], [])) == 0


def test_a_shard_stays_open_until_too_many_are(reader, directory):
  reader = pickle.loads(pickle.dumps(reader))  # Ours alone, to drop below.
  assert corpora.num_open(directory) == 0
  reader[0], reader[0]
  assert corpora.num_open(directory) == 1
  for index in range(len(reader)):
    reader[index]
  assert corpora.num_open(directory) == array_record.MAX_OPEN_SHARDS
  del reader
  assert corpora.num_open(directory) == 0


def test_threads_together_open_no_more_than_allowed(reader, directory):
  most, done = [], threading.Event()

  def watch():
    while not done.is_set():
      most.append(corpora.num_open(directory))

  def read(seed):
    indices = random.Random(seed).choices(range(len(reader)), k=400)
    return all(reader[index] == RECORDS[index] for index in indices)

  watcher = threading.Thread(target=watch)
  watcher.start()
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    results = list(pool.map(read, range(8)))
  done.set()
  watcher.join()
  assert all(results)
  assert len(most) > 3
  assert max(most) <= array_record.MAX_OPEN_SHARDS
  assert corpora.num_open(directory) <= array_record.MAX_OPEN_SHARDS


def test_a_copy_opens_its_own_files(reader, directory):
  fresh = pickle.loads(pickle.dumps(reader))
  reader[0], reader[1]
  used = pickle.loads(pickle.dumps(reader))
  assert corpora.num_open(directory) == 2
  assert fresh[3] == used[3] == reader[3] == RECORDS[3]
  assert corpora.num_open(directory) == 5


def test_another_process_reads_the_same(reader):
  reader[0]
  with multiprocessing.get_context("spawn").Pool(1) as pool:
    assert pool.map(reader.__getitem__, [0, 7, 100]) == [
      *(RECORDS[0], RECORDS[7], RECORDS[100])
    ]


def test_a_read_in_progress_stops_no_other_of_the_same_shard(
  reader, monkeypatch
):
  inside, release = threading.Event(), threading.Event()
  open_shard = sources.ShardReader._open

  class Hanging:
    def __getitem__(self, position):
      inside.set()
      release.wait()
      return b"late"

  monkeypatch.setattr(
    sources.ShardReader, "_open", lambda self, shard: Hanging()
  )
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    hanging = pool.submit(lambda: reader[0])
    assert inside.wait(10)
    monkeypatch.setattr(sources.ShardReader, "_open", open_shard)
    assert reader[0] == RECORDS[0]
    release.set()
    assert hanging.result(10) == b"late"


def test_a_failed_read_does_not_keep_the_file(directory, tmp_path):
  path = tmp_path / "shard"
  path.write_bytes(b"no shard at all" * 10000)
  reader = sources.ShardReader([str(path)], [1])
  with pytest.raises(sources.ShardReadError, match=f"record 0: .*{path}"):
    reader[0]
  path.write_bytes((directory / "0").read_bytes())
  assert reader[0] == RECORDS[0]


def test_a_shard_with_fewer_records_than_said_is_an_error(directory):
  reader = sources.ShardReader([str(directory / "0")], [2])
  assert reader[0] == RECORDS[0]
  with pytest.raises(sources.ShardReadError, match=str(directory / "0")):
    reader[1]


@pytest.mark.parametrize("scheme", ["s3", "memory", "file"])
def test_a_bucket_that_array_record_cannot_read_is_refused(scheme):
  url = f"{scheme}://bucket/shard"
  with pytest.raises(ValueError, match=f"{url}: .* a disk or gs:// only"):
    sources.ShardReader([url], [1])
