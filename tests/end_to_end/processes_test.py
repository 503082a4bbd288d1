"""Several processes over loopback read one sequence of global batches."""

import contextlib
import json
import os
import socket
import sys
import tempfile

import pytest

from tests import forking

NUM_DEVICES = 4
BATCH = 8

# Places batches on a mesh over all processes with the code of train.py, and
# writes what its own devices hold: step, row of the global batch, hashes.
CHILD = """
import hashlib, json, sys
import jax
import numpy as np

def digest(array):
  return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

if __name__ == "__main__":
  folder, port, count, index, start, stop = sys.argv[1:]
  if int(count) > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
      f"localhost:{port}", num_processes=int(count), process_id=int(index))
  from data_pipelines.open_source import open_source
  from sapiens2_jax import config as config_lib
  from sapiens2_jax.objectives import build_objective
  from sapiens2_jax.parallel.mesh import make_mesh
  from sapiens2_jax.training import data
  config = config_lib.load_config(
    "experiments/pretrain.py:size=toy",
    ["data.global_batch_size=8", "data.image_size=(64, 48)",
     "data.local_size=(32, 24)", "data.stages=32x32,16x16,0.014"],
    lambda config: [])
  loader = data.make_prefetcher(
    build_objective(config), open_source(folder), make_mesh(config.mesh),
    start_step=int(start), num_steps=int(stop) - int(start))
  for step, loaded in enumerate(loader, int(start)):
    assert loaded.batch["index"].shape == (1, 8)
    rows = {}
    for name, array in sorted(loaded.batch.items()):
      for shard in array.addressable_shards:
        first = shard.index[1].start or 0
        for row, value in enumerate(np.asarray(shard.data)[0], first):
          rows.setdefault(row, []).append(digest(value))
    for row, hashes in rows.items():
      print(json.dumps([step, row, hashes]), flush=True)
  loader.close()
"""


def _free_port():
  with socket.socket() as opened:
    opened.bind(("localhost", 0))
    return opened.getsockname()[1]


def _run(folder, child, count, start, stop):
  """Rows of all processes together, sorted; and how many each one had."""
  port = str(_free_port())
  flags = f"--xla_force_host_platform_device_count={NUM_DEVICES // count}"
  env = {**os.environ, "PYTHONPATH": str(forking.ROOT), "XLA_FLAGS": flags}
  with contextlib.ExitStack() as opened:
    outputs, errors = (
      [opened.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
      for _ in range(2)
    )
    running = [
      forking.start(
        [sys.executable, str(child), str(folder), port, str(count), str(index)]
        + [str(start), str(stop)],
        env,
        outputs[index],
        errors[index],
      )
      for index in range(count)
    ]
    parts = []
    for process, output, error in zip(running, outputs, errors):
      code = process.wait(timeout=180)
      error.seek(0)
      assert code == 0, error.read().decode()
      output.seek(0)
      lines = output.read().decode().splitlines()
      parts.append([json.loads(line) for line in lines if line[0] == "["])
  return sorted(sum(parts, [])), [len(part) for part in parts]


@pytest.mark.slow
def test_any_number_of_processes_reads_the_same_batches(tmp_path, smooth_photo):
  folder, child = tmp_path / "photos", tmp_path / "child.py"
  folder.mkdir()
  for number in range(11):
    photo = smooth_photo(90 + number, 80, number)
    photo.save(folder / f"{number:02}.png")
  child.write_text(CHILD)
  alone, _ = _run(folder, child, 1, 0, 6)
  assert [row[:2] for row in alone] == [
    [step, row] for step in range(6) for row in range(BATCH)
  ]
  # Images repeat between epochs, crops must not.
  assert len({row[2][1] for row in alone}) == len(alone)
  # A run that goes on with another number of processes at steps 2 and 4; its
  # images are larger from step 3 on.
  resumed = []
  for count, start in ((4, 0), (1, 2), (2, 4)):
    rows, shares = _run(folder, child, count, start, start + 2)
    assert shares == [2 * BATCH // count] * count
    resumed += rows
  assert resumed == alone
