"""Data workers and whole loaders are killed; no example is lost or repeated."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from data_pipelines.loading import crops, loader
from data_pipelines.loading.pretrain_examples import PretrainExamples
from data_pipelines.open_source import open_source

CONFIG = loader.LoaderConfig(
  PretrainExamples(crops.CropConfig(global_size=(32, 24), local_size=(16, 20))),
  global_batch_size=8,
  num_workers=2,
  backoff=0.05,
)
NUM_STEPS = 12

# Writes one line a step; the next process goes on at the step after the last
# line, which is all that a checkpoint remembers of the data.
CHILD = """
import json, sys
from data_pipelines.loading import loader
from data_pipelines.open_source import open_source
from tests.data_pipelines.loading import kill_test

if __name__ == "__main__":
  folder, path, start = sys.argv[1], sys.argv[2], int(sys.argv[3])
  made = loader.make_loader(
    open_source(folder), kill_test.CONFIG, start_step=start,
    num_steps=kill_test.NUM_STEPS - start)
  with open(path, "a", buffering=1) as file:
    for step, (batch, _) in enumerate(made, start):
      file.write(json.dumps([step, kill_test.digest(batch)]) + "\\n")
  made.close()
"""


def digest(batch):
  """What tells batches apart: the records, and a hash of all arrays."""
  total = hashlib.sha256()
  for name in sorted(batch):
    total.update(np.ascontiguousarray(batch[name]).tobytes())
  return [batch["index"].ravel().tolist(), total.hexdigest()]


def _workers():
  return sorted(multiprocessing.active_children(), key=lambda child: child.pid)


@pytest.fixture
def expected(photo_folder):
  config = dataclasses.replace(CONFIG, num_workers=0)
  source = open_source(photo_folder)
  made = loader.make_loader(source, config, start_step=0, num_steps=NUM_STEPS)
  return [digest(batch) for batch, _ in made]


def test_a_killed_worker_is_replaced(photo_folder, expected):
  source = open_source(photo_folder)
  made = loader.make_loader(source, CONFIG, start_step=0, num_steps=NUM_STEPS)
  found = []
  for step, (batch, _) in enumerate(made):
    found.append(digest(batch))
    if step in (2, 6):
      os.kill(_workers()[step % 2].pid, signal.SIGKILL)
  made.close()
  assert found == expected


class Deadly:
  """A source with a record that kills whoever reads it."""

  def __init__(self, source):
    self._source = source

  def __len__(self):
    return len(self._source)

  def __getitem__(self, index):
    if index == 5:
      os.kill(os.getpid(), signal.SIGKILL)
    return self._source[index]

  def location(self, index):
    return self._source.location(index)


def test_a_record_that_kills_every_worker_ends_the_run(photo_folder):
  source = Deadly(open_source(photo_folder))
  config = dataclasses.replace(CONFIG, num_workers=1)
  made = loader.make_loader(source, config, start_step=0, num_steps=1)
  with pytest.raises(RuntimeError, match="step 0: .* 4 times in a row"):
    next(made)
  made.close()


def test_a_small_shared_memory_is_named(photo_folder, monkeypatch):
  usage = shutil.disk_usage("/")._replace(free=10**3)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  config = dataclasses.replace(CONFIG, num_workers=2)
  source = open_source(photo_folder)
  made = loader.make_loader(source, config, start_step=0, num_steps=1)
  message = "/dev/shm: 0 MB free, num_workers=2 .* lower data.num_workers"
  with pytest.raises(loader.WorkerDied, match=message):
    next(made)
  made.close()


def test_a_shared_memory_that_cannot_be_written_is_named(
  photo_folder, monkeypatch
):
  monkeypatch.setattr(os, "access", lambda path, mode: False)
  config = dataclasses.replace(CONFIG, num_workers=1)
  source = open_source(photo_folder)
  made = loader.make_loader(source, config, start_step=0, num_steps=1)
  with pytest.raises(loader.WorkerDied, match="/dev/shm: cannot be written"):
    next(made)


@pytest.mark.slow
def test_a_killed_loader_continues_where_it_was(
  photo_folder, tmp_path, expected
):
  child, path = tmp_path / "child.py", tmp_path / "steps.jsonl"
  child.write_text(CHILD)
  root = str(pathlib.Path(__file__).parents[3])
  env = {**os.environ, "PYTHONPATH": root}

  def lines():
    if not path.exists():
      return []
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]

  for stop_at in (2, 7, NUM_STEPS):
    start = len(lines())
    arguments = [str(photo_folder), str(path), str(start)]
    process = subprocess.Popen(
      [sys.executable, str(child), *arguments], env=env
    )
    while len(lines()) < stop_at:
      assert process.poll() is None or process.returncode == 0
      time.sleep(0.01)
    workers = psutil.Process(process.pid).children()
    if stop_at < NUM_STEPS:
      process.kill()
    process.wait()
    # They notice that nobody wants their batches.
    assert psutil.wait_procs(workers, timeout=10)[1] == []
  assert lines() == [[step, row] for step, row in enumerate(expected)]
