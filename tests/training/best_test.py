"""The best checkpoint outlives those that come after it."""

import json
import pathlib

import numpy as np
import pytest

from sapiens2_jax import validation
from sapiens2_jax.interop.weights import find_weights
from sapiens2_jax.training import best, checkpoints, endings
from sapiens2_jax.training.best import KeepBest, read_goal
from tests import tiny_task
from tests.training import small_runs

GOAL = "checkpoint.keep_best=probe_knn max"
KEEP = (GOAL, "checkpoint.keep_last=1", "checkpoint.keep_every=1000")


def save(workdir, values, *overrides):
  """Saves checkpoints of these steps and values; returns those that stay."""
  run = small_runs.open_run(
    workdir, "probes.every=1", "probes.path=x", *KEEP, *overrides
  )
  for step, value in values.items():
    measured = {"probe_knn": value, "probe_other": -step}
    run.save(small_runs.make_state(step), step, 16 * step, measured)
  best = run.best.step
  run.close()
  names = small_runs.path(workdir, 0).parent.iterdir()
  return best, sorted(int(p.name) for p in names if p.name.isdecimal())


def test_it_stays_until_a_better_one_is_written(tmp_path):
  found = save(tmp_path, {1: 0.2, 2: 0.9, 3: 0.5, 4: float("nan"), 5: 0.9})
  assert found == (2, [2, 5])  # A tie is not better.
  # After a restart, too, and another goal finds its own.
  assert save(tmp_path, {6: 0.8}) == (2, [2, 6])
  assert save(tmp_path, {7: 0.95, 8: 0.1}) == (7, [7, 8])
  goal = "checkpoint.keep_best=probe_other max"
  assert save(tmp_path, {9: 0.2}, goal) == (7, [7, 9])
  run = json.loads(
    (small_runs.path(tmp_path, 7) / "run" / "metadata").read_text()
  )
  assert run["measured"] == {"probe_knn": 0.95, "probe_other": -7}


def test_what_process_0_has_read_counts(tmp_path, monkeypatch):
  # Else one would save what it takes for the best, and the others would not.
  save(tmp_path, {1: 0.2, 2: 0.9})
  (small_runs.path(tmp_path, 2) / "run" / "metadata").write_text("{")
  of_0 = (2, 0.9)
  monkeypatch.setattr(best.gathering, "gather", lambda own: [of_0, own])
  found = KeepBest(read_goal("probe_knn max"), checkpoints.directory(tmp_path))
  assert (found.step, found.value) == of_0
  assert not found.is_better({"probe_knn": 0.5})


def test_without_a_goal_it_goes(tmp_path):
  values = {1: 0.9, 2: 0.5, 3: 0.4}
  goal = "checkpoint.keep_best="
  assert save(tmp_path, values, goal) == (None, [3])


def test_it_can_be_named(tmp_path):
  save(tmp_path, {1: 0.2, 2: 0.9, 3: 0.5})
  place = small_runs.path(tmp_path, 2)
  assert find_weights(place).step == 2
  step, params = checkpoints.load_part(str(place), lambda state: state.params)
  assert step == 2
  expected = small_runs.make_state(2).params["encoder"]["bias"]
  np.testing.assert_array_equal(params["encoder"]["bias"], expected)
  assert checkpoints.latest(str(tmp_path))[0] == 3
  (place / "run" / "metadata").write_text("{}")
  with pytest.raises(OSError, match="checkpoints/2: .*damaged"):
    checkpoints.latest(str(place))


def test_a_damaged_one_is_no_reason_to_stop(tmp_path, capsys):
  save(tmp_path, {1: 0.9, 2: 0.2, 3: 0.5})
  (small_runs.path(tmp_path, 1) / "run" / "metadata").write_text("{")
  root = small_runs.path(tmp_path, 0).parent
  best = KeepBest(read_goal("probe_knn max"), root)
  assert (best.step, best.value) == (3, 0.5)
  assert "checkpoint 1 cannot be the best" in capsys.readouterr().err


def test_the_smallest_may_be_best():
  best = KeepBest(read_goal("eval_mad min"), pathlib.Path("nowhere"))
  for step, value in enumerate((3.0, 1.0, None, 2.0)):
    best.take(step, {"eval_mad": value})
  assert (best.step, best.value) == (1, 1.0)
  with pytest.raises(ValueError, match="eval_mad is not measured, only eval_x"):
    best.is_better({"eval_x": 1.0})


def test_a_number_that_is_not_measured_is_no_reason_to_start_again():
  """Of pretraining it is known only at the first measurement."""
  best = KeepBest(read_goal("probe_other max"), pathlib.Path("nowhere"))
  try:
    best.is_better({"probe_knn": 1.0})
  except ValueError as error:
    message, code = endings.explain(error, is_start=False)
  assert (code, message.count("\n")) == (2, 0)
  assert "probe_other is not measured, only probe_knn" in message


@pytest.mark.parametrize(
  ("goal", "every", "message"),
  [
    ("eval_AP", 5, "max or min"),
    ("eval_AP best", 5, "max or min"),
    ("eval_AP max", 0, "needs evaluation.every"),
    ("probe_knn max", 5, "a number that is measured: eval_..."),
    ("eval_oks max", 5, "pose measures eval_AP, eval_AP50, "),
    ("eval_AP max", 5, ""),
  ],
)
def test_what_cannot_be_kept_is_said_before_the_start(goal, every, message):
  config = validation.default_config("finetune", "pose")
  config.head.upsample_channels = (8, 8)
  config.checkpoint.keep_best = goal
  config.evaluation.update(every=every, path="labelled")
  found = [x for x in validation.validate(config, 1) if "keep_best" in x[0]]
  assert message in str(found) if message else not found


def test_an_empty_metric_that_has_no_numbers_is_asked_later():
  config = tiny_task.load_config(
    "checkpoint.keep_best=eval_none min",
    *("evaluation.every=5", "evaluation.path=x"),
  )
  assert config.checkpoint.keep_best == "eval_none min"
