import types

import numpy as np
import pytest

from data_pipelines.loading.loader import WorkerDied
from sapiens2_jax.runtime.goodput import Timeline
from sapiens2_jax.training import loop, writers
from sapiens2_jax.training.data import Loaded
from sapiens2_jax.training.loop import format_line
from sapiens2_jax.training.objective import Stage
from tests import tiny
from tests.training import small_runs

SPEED = {
  "mfu": None,
  "step_seconds": 2.0,
  "eta_seconds": 20.0,
  "images_per_second": 8.0,
  "data_wait": 0.25,
  "device_bytes_peak": None,
  "device_bytes_limit": None,
}
BORDER = 6  # of stages
METRICS = {"loss": 1.5, "grad_norm": 0.5, "lr": 1e-4}


def test_the_line_has_every_part_of_the_loss():
  parts = {"loss_cl": 2.0, "rank_me": 7.0, "loss_mae": 0.25}
  line = format_line(9, 20, {**METRICS, **parts}, SPEED)
  assert line == (
    "step 10/20  loss 1.500 (cl 2.000 mae 0.250)  gnorm 0.50  lr 1.0e-04  "
    "8.0 img/s  mfu -  mem -  wait 25%  eta 20s"
  )


def test_the_line_says_how_full_the_memory_of_a_device_was():
  memory = {"device_bytes_peak": 60 * 2**30, "device_bytes_limit": 96 * 2**30}
  assert "  mem 62%  " in format_line(9, 20, METRICS, SPEED | memory)


def test_a_loss_without_parts_stands_alone():
  assert "  loss 1.500  gnorm" in format_line(9, 20, METRICS, SPEED)


class FewBatches:
  """A loader whose images stop to answer."""

  def __init__(self, start: int, count: int):
    index = np.zeros((1, small_runs.BATCH), np.int32)
    self._left = [Loaded({"index": index}, {}, [])] * count

  def poll(self, _) -> Loaded:
    if not self._left:
      raise WorkerDied("no answer")
    return self._left.pop()


def run_loop(workdir, start: int, count: int, *overrides: str) -> None:
  """`loop.train` with a step that only counts, until images are missing."""
  config = tiny.load_config("checkpoint.keep_last=9", *overrides)
  objective = types.SimpleNamespace(config=config, flops=lambda: 1)
  objective.stages = lambda: (
    *(Stage(0, BORDER, objective), Stage(BORDER, 10, objective)),
  )
  checkpointer = small_runs.open_run(workdir)

  def step_fn(state, _):
    metrics = {"loss": 1.0, "grad_norm": 1.0, "lr": 1.0, "nonfinite_streak": 0}
    return state.replace(step=state.step + 1), metrics

  try:
    with pytest.raises(WorkerDied):
      loop.train(
        small_runs.make_state(0).replace(step=np.int32(start)),
        step_fn,
        FewBatches(start, count),
        objective=objective,
        workdir=str(workdir),
        first_example=start * small_runs.BATCH,
        checkpointer=checkpointer,
        timeline=Timeline(),
      )
  finally:
    checkpointer.close()


def test_the_row_of_a_step_is_written_before_its_save(tmp_path):
  run_loop(tmp_path, 0, 5, "checkpoint.every=1")
  step, _ = small_runs.restore(tmp_path)
  assert step == 5
  run_loop(tmp_path, 5, 3, "checkpoint.every=1")
  rows = writers.read_metrics(str(tmp_path))
  assert [row["step"] for row in rows] == list(range(8))


def test_the_first_step_of_a_stage_follows_a_save(tmp_path, capsys):
  # Compiling it takes long, and it may not fit.
  run_loop(tmp_path, 0, BORDER + 2, "checkpoint.every=0")
  step, _ = small_runs.restore(tmp_path)
  assert step == BORDER
  assert "the next in" not in capsys.readouterr().out  # Looked at anew.
  rows = writers.read_speed(str(tmp_path))
  steps = [row["step"] for row in rows]
  assert steps == list(range(BORDER + 1))  # The last one is not told.
  rates = [row["useful_flops_per_second"] * row["eta_seconds"] for row in rows]
  cost = 1 * small_runs.BATCH
  np.testing.assert_allclose(rates, [cost * (9 - step) for step in steps])
