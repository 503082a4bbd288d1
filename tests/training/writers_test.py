"""Rows and curves of a run in a bucket: all are there when it is saved."""

import struct

import pytest

from data_pipelines.common import storage
from sapiens2_jax.training import writers

proto = pytest.importorskip("tensorboardX.proto.event_pb2")


@pytest.fixture
def bucket():
  """A scheme of fsspec that keeps everything in this process."""
  yield "memory://runs/a"
  storage.remove_tree("memory://runs")


def shown(workdir: str) -> list[int]:
  """Steps of all scalars in TensorBoard's files."""
  names = sorted(storage.list_sizes(f"{workdir}/tensorboard"))
  steps = []
  for name in names:
    data = storage.read_bytes(f"{workdir}/tensorboard/{name}")
    while data:  # Length, its checksum, an event, its checksum.
      (size,) = struct.unpack("<Q", data[:8])
      event = proto.Event.FromString(data[12 : 12 + size])
      data = data[16 + size :]
      steps += [event.step] * len(event.summary.value)
  return steps


def test_a_save_finds_all_rows_in_the_bucket_and_a_restart_goes_on(bucket):
  for start, end in ((0, 4), (3, 6)):
    one = writers.Writers(bucket, start)
    for step in range(start, end):
      one.write_metrics(step, {"loss": 1.0 / (step + 1), "nan": None})
      one.write_speed(step, {"rate": 2.0})
      if step == 2:
        one.sync()
    assert len(writers.read_metrics(bucket)) == 3  # Nothing was shown since.
    one.sync()
    one.sync()  # Nothing is new.
    one.close()
  assert [r["step"] for r in writers.read_metrics(bucket)] == [*range(6)]
  assert [r["step"] for r in writers.read_speed(bucket)] == [*range(6)]
  # A file a save: of steps 0 to 2, 3, and of the restart.
  assert len(storage.list_sizes(f"{bucket}/tensorboard")) == 3
  assert sorted(shown(bucket)) == sorted([*range(4), 3, 4, 5] * 2)


def test_a_disk_and_a_bucket_get_the_same_rows(bucket, tmp_path):
  for workdir in (bucket, str(tmp_path)):
    one = writers.Writers(workdir, 0)
    one.write_metrics(0, {"loss": 0.1})
    one.show()
    one.close()
  name = writers.METRICS_FILE
  assert (tmp_path / name).read_bytes() == storage.read_bytes(
    f"{bucket}/{name}"
  )
