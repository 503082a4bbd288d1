import sys
import types

import numpy as np
import pytest

from data_pipelines.common import errors
from sapiens2_jax.training import tracking, writers
from tests import tiny


class UsageError(Exception):
  pass


class CommError(Exception):
  pass


class FakeRun:
  """Notes what it is sent."""

  def __init__(self, **options):
    self.options, self.rows, self.codes, self.metrics = options, [], [], []

  def define_metric(self, name, step_metric):
    self.metrics.append((name, step_metric))

  def log(self, row):
    self.rows.append(row)

  def finish(self, exit_code):
    self.codes.append(exit_code)


@pytest.fixture
def wandb(monkeypatch):
  """A module that looks like wandb, and the runs that were made."""
  runs = []

  def init(**options):
    runs.append(FakeRun(**options))
    return runs[-1]

  module = types.SimpleNamespace(
    init=init,
    runs=runs,
    Image=lambda picture: ("picture", picture.shape),
    Settings=dict,
    errors=types.SimpleNamespace(
      Error=Exception, UsageError=UsageError, AuthenticationError=UsageError
    ),
  )
  monkeypatch.setitem(sys.modules, "wandb", module)
  monkeypatch.setattr(tracking.exits, "before_leaving", lambda function: None)
  return module


def open_tracker(workdir, project="people"):
  config = tiny.load_config(f"logging.wandb_project={project}")
  return tracking.open_tracker(config, str(workdir))


def test_nothing_is_sent_unless_asked_for(tmp_path, wandb):
  assert open_tracker(tmp_path, project="") is None
  assert not wandb.runs and not list(tmp_path.iterdir())


def test_rows_and_pictures_arrive_with_their_step(tmp_path, wandb):
  tracker = open_tracker(tmp_path)
  opened = writers.Writers(str(tmp_path), 0, tracker)
  opened.write_metrics(7, {"loss": 2.0, "rank": None})
  opened.write_speed(7, {"mfu": None, "host_bytes": 3})
  opened.write_picture(7, "eval/0", np.zeros((4, 6, 3), np.uint8))
  opened.close()
  tracker.close()
  (run,) = wandb.runs
  assert run.rows == [
    {"step": 7, "train/loss": 2.0},
    {"step": 7, "speed/host_bytes": 3},
    {"step": 7, "eval/0": ("picture", (4, 6, 3))},
  ]
  assert run.metrics == [("*", "step")]
  assert run.codes == [0]
  assert run.options["project"] == "people"
  assert run.options["config"]["model"]["size"] == "tiny"


def test_a_restart_continues_the_run_and_another_workdir_is_another(
  tmp_path, wandb, caplog
):
  for name in ("a", "a", "b"):
    (tmp_path / name).mkdir(exist_ok=True)
    open_tracker(tmp_path / name)
  first, again, other = (run.options for run in wandb.runs)
  assert first["id"] == again["id"] != other["id"]
  assert again["resume"] == "allow"
  (tmp_path / "a" / tracking.FILE).write_text("{")
  open_tracker(tmp_path / "a")
  assert wandb.runs[-1].options["id"] not in (first["id"], other["id"])
  assert "damaged" in caplog.text


def test_a_project_that_is_refused_is_a_mistake(tmp_path, wandb):
  def init(**_):
    raise UsageError("No API key configured.")

  wandb.init = init
  with pytest.raises(ValueError, match="wandb_project=people: No API") as found:
    open_tracker(tmp_path)
  assert errors.exit_code(found.value) == errors.MISTAKE


def test_a_server_that_is_away_or_goes_away_ends_no_run(
  tmp_path, wandb, caplog
):
  tracker = open_tracker(tmp_path)

  def log(_):
    raise BrokenPipeError("gone")

  wandb.runs[0].log = log
  tracker.write("train", 0, {"loss": 1.0})
  tracker.write("train", 1, {"loss": 1.0})
  tracker.close()
  assert caplog.text.count("no longer in Weights & Biases: gone") == 1

  def init(**_):
    raise CommError("timed\nout")

  wandb.init = init
  tracker = open_tracker(tmp_path)
  tracker.write("train", 0, {"loss": 1.0})
  tracker.close()
  assert "not in Weights & Biases: timed out" in caplog.text


def test_whatever_it_raises_ends_no_run(tmp_path, wandb, caplog):
  def fail(*_, **__):
    raise RuntimeError

  wandb.errors.Error = CommError  # Its service raises errors of no class.
  tracker = open_tracker(tmp_path)
  wandb.runs[0].finish = fail
  tracker.close()
  tracker = open_tracker(tmp_path)
  wandb.Image = fail
  tracker.write_picture(3, "eval/0", np.zeros((4, 6, 3), np.uint8))
  assert caplog.text.count("no longer in Weights & Biases") == 2
  wandb.init = fail
  open_tracker(tmp_path).write("train", 0, {"loss": 1.0})
  assert "not in Weights & Biases: RuntimeError" in caplog.text


def test_a_missing_package_is_a_mistake_that_says_what_to_install(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(ValueError) as found:
    open_tracker(tmp_path)
  assert str(found.value) == (
    "logging.wandb_project=people: wandb is not installed; it comes with the "
    "extra wandb: pip install 'sapiens2-jax[wandb]'"
  )
  assert errors.exit_code(found.value) == errors.MISTAKE
