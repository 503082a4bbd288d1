import logging
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from data_pipelines import sources
from data_pipelines.common import images
from tests.data_pipelines import corpora


class Scripted:
  """A source of three records; each read takes the next step of a script.

  A step is an exception to raise, an event to wait for, or None to succeed.
  """

  def __init__(self, *script):
    self._script = list(script)
    self.times = []

  def __len__(self):
    return 3

  def __getitem__(self, index):
    self.times.append(time.monotonic())
    step = self._script.pop(0) if self._script else None
    if isinstance(step, BaseException):
      raise step
    if step is not None:
      step.wait()
    return f"record {index}"

  def name(self, index):
    return f"name {index}"

  def location(self, index):
    if not 0 <= index < 3:
      raise IndexError(f"index={index}")
    return f"gs://bucket/shard-{index}"


def retrying(source, attempts=3, timeout=5.0, backoff=0.01):
  return sources.RetryingSource(
    source, attempts=attempts, timeout=timeout, backoff=backoff
  )


@pytest.mark.parametrize(
  "error", [sources.ShardReadError("no shard"), TimeoutError(), OSError(5)]
)
def test_a_flaky_read_succeeds_and_is_logged(caplog, error):
  source = Scripted(error, error)
  with caplog.at_level(logging.WARNING):
    assert retrying(source)[1] == "record 1"
  assert len(source.times) == 3
  assert [message.partition("; ")[2] for message in caplog.messages] == [
    "attempt 1 of 3, again in 0.01 s",
    "attempt 2 of 3, again in 0.02 s",
  ]
  assert all("gs://bucket/shard-1" in message for message in caplog.messages)


def test_the_pause_doubles():
  source = Scripted(*[OSError()] * 3)
  retrying(source, attempts=4, backoff=0.1)[0]
  pauses = [b - a for a, b in zip(source.times, source.times[1:])]
  for pause, least in zip(pauses, (0.1, 0.2, 0.4)):
    assert least <= pause < 2 * least + 0.2


def test_what_keeps_failing_is_given_up_with_file_record_and_attempts():
  source = Scripted(*[OSError("reset by peer")] * 3)
  wanted = (
    r"^gs://bucket/shard-2: record 2: reset by peer \(given up after 3 "
    r"attempts\)$"
  )
  with pytest.raises(sources.ShardReadError, match=wanted):
    retrying(source)[2]
  assert len(source.times) == 3


def test_a_message_that_has_the_file_is_not_given_it_again():
  problem = "record 2: cannot read gs://bucket/shard-2: gone"
  source = Scripted(sources.ShardReadError(problem))
  with pytest.raises(sources.ShardReadError) as caught:
    retrying(source, attempts=1)[2]
  assert str(caught.value) == f"{problem} (given up after 1 attempts)"


@pytest.mark.parametrize(
  "error",
  [
    images.ImageDecodeError("truncated"),
    IndexError("index=7"),
    MemoryError(),
    ZeroDivisionError(),
  ],
)
def test_other_errors_pass_at_once(error):
  source = Scripted(error)
  with pytest.raises(type(error)) as caught:
    retrying(source)[0]
  assert caught.value is error and len(source.times) == 1


def test_a_read_that_hangs_ends_and_does_not_stop_the_next():
  release = threading.Event()
  source = Scripted(release, release)
  start = time.monotonic()
  assert retrying(source, timeout=0.2)[1] == "record 1"
  assert 0.4 <= time.monotonic() - start < 1.5
  release.set()


def test_a_read_that_always_hangs_is_an_error_in_bounded_time():
  release = threading.Event()
  source = Scripted(*[release] * 3)
  start = time.monotonic()
  with pytest.raises(
    sources.ShardReadError,
    match="shard-1: record 1: no answer within 0.2 s .given up after 3",
  ):
    retrying(source, timeout=0.2)[1]
  assert time.monotonic() - start < 1.5
  release.set()


def test_a_process_ends_although_a_read_still_hangs(tmp_path):
  script = textwrap.dedent("""
    import threading
    from data_pipelines import sources
    class Hanging:
      def __getitem__(self, index):
        threading.Event().wait()
      def location(self, index):
        return "some file"
    try:
      sources.RetryingSource(Hanging(), attempts=2, timeout=0.1, backoff=0)[0]
    except sources.ShardReadError as error:
      print(error)
  """)
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
  )
  assert done.returncode == 0, done.stderr
  assert "some file: record 0: no answer" in done.stdout


def test_several_threads_may_read_at_once():
  barrier = threading.Barrier(4, timeout=10)

  class Meeting(Scripted):
    def __getitem__(self, index):
      barrier.wait()  # Passes only if four are here together.
      return index

  source = retrying(Meeting())
  results = []
  threads = [
    threading.Thread(target=lambda: results.append(source[0])) for _ in range(4)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert results == [0] * 4


def test_it_is_otherwise_the_source_it_wraps(photo_folder):
  folder = sources.FolderSource(photo_folder)
  source = pickle.loads(pickle.dumps(retrying(folder)))
  assert len(source) == len(folder) == 7
  assert corpora.read_all(source) == corpora.read_all(folder)
  assert source.name(3) == folder.name(3)
  assert source.location(3) == folder.location(3)


@pytest.fixture
def corpus(photo_folder, tmp_path):
  return corpora.pack_folder(photo_folder, tmp_path / "corpus", shard_size=3)


def test_a_shard_that_vanishes_and_comes_back_is_waited_for(corpus):
  source = retrying(sources.ArrayRecordSource(corpus), attempts=8, backoff=0.05)
  shard = corpus / "shard-00001-of-00003.array_record"
  away = shard.rename(corpus / "away")
  threading.Timer(0.4, lambda: away.rename(shard)).start()
  assert source[4].name == "4.JPG"


def test_a_shard_that_stays_away_is_named(corpus):
  source = retrying(sources.ArrayRecordSource(corpus))
  (corpus / "shard-00001-of-00003.array_record").unlink()
  assert source[0].name == "0.JPG"
  with pytest.raises(
    sources.ShardReadError,
    match="shard-00001-of-00003.*No such file.*given up after 3 attempts",
  ):
    source[4]


@pytest.mark.parametrize(
  "change, message",
  [
    ({"attempts": 0}, "attempts=0 must be at least 1"),
    ({"timeout": 0}, "timeout=0 must be above 0"),
    ({"backoff": -1}, "backoff=-1 must be at least 0"),
  ],
)
def test_numbers_out_of_range_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    retrying(Scripted(), **change)


def test_threads_are_used_again_and_end_with_their_source():
  before = set(threading.enumerate())
  source = retrying(Scripted())
  for _ in range(50):
    source[2]
  (thread,) = set(threading.enumerate()) - before
  del source
  thread.join(timeout=5)
  assert not thread.is_alive()
