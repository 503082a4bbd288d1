"""Pretraining with probes: the same rows whether it was stopped or not."""

import json
import signal

import numpy as np
import pytest

from sapiens2_jax.training import writers
from tests import tiny_task
from tests.end_to_end import commands, resuming
from tests.evaluation import labelled

pytestmark = pytest.mark.slow
NUM_STEPS = 7


def test_stopped_it_ends_as_if_nothing_had_happened(tmp_path):
  found = [labelled.make_record(n) for n in range(6)]
  place = tiny_task.write_corpus(tmp_path / "corpus", found)
  env = commands.environment()
  options = (
    f"optim.num_steps={NUM_STEPS}",
    "checkpoint.every=2",
    f"probes.path={place}",
    "probes.tasks=('normal','segmentation')",
    "probes.num_images=5",
  )

  def command(name, every=2):
    return commands.tiny_command(
      tmp_path / name, place, *options, f"probes.every={every}"
    )

  done = commands.run(command("whole"), env)
  assert done.returncode == 0, done.stdout + done.stderr
  rows = writers.read_metrics(str(tmp_path / "whole"))
  probes = [row for row in rows if "probe_normal_deg" in row]
  assert [row["step"] for row in probes] == [1, 3, 5, 6]
  assert "probe_recall_1" in probes[0] and "probe 2  " in done.stdout

  start = command("stopped")
  stopped = commands.run_until(
    start,
    env,
    lambda: resuming.num_rows(tmp_path / "stopped") >= 4,
    signal.SIGTERM,
  )
  assert stopped.returncode == 0, stopped.log
  assert commands.run(start, env).returncode == 0
  whole, again = (
    (tmp_path / name / writers.METRICS_FILE).read_bytes()
    for name in ("whole", "stopped")
  )
  assert whole == again

  off = commands.run(command("off", every=0), env)
  assert off.returncode == 0, off.stdout + off.stderr
  trees = [
    resuming.read_tree(tmp_path / name, NUM_STEPS)
    for name in ("whole", "stopped", "off")
  ]
  np.testing.assert_equal(trees[0], trees[1])
  np.testing.assert_equal(trees[0], trees[2])

  test = [labelled.make_record(n) for n in range(6, 9)]
  test = tiny_task.write_corpus(tmp_path / "test", test)
  probe = commands.tiny_command_of(
    *("probe", "--checkpoint", str(tmp_path / "whole")),
    *("--config", "probe:task=normal,size=toy"),
    *("--output", str(tmp_path / "probed")),
    *(f"--config.data.train={place}", f"--config.data.test={test}"),
    "--config.data.image_size=(64,48)",
    *("--config.optim.num_steps=3", "--config.optim.warmup_steps=1"),
  )
  probed = commands.run(probe, env)
  assert probed.returncode == 0, probed.stdout + probed.stderr
  assert "normal MAE deg" in probed.stdout
  results = json.loads((tmp_path / "probed" / "results.json").read_text())
  assert results["results"]["normal"]["images"] == 3
  assert results["size"] == "tiny" and len(results["weights"]) == 64
  wrong = [a for a in probe if not a.startswith("--config.data.test")]
  wrong = commands.run(wrong, env)
  assert wrong.returncode == 2 and "Traceback" not in wrong.stderr
  assert "data.test=" in wrong.stderr
