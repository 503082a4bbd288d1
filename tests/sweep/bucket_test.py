"""A sweep whose workdirs are in a bucket, with a trainer that only talks."""

import dataclasses
import io
import shutil
import sys
import types

import pytest

from data_pipelines.common import storage
from sapiens2_jax.config import ConfigError
from sapiens2_jax.sweep import jobs, local, points, results, status
from sapiens2_jax.training import verification, writers
from tests.data_pipelines import fake_bucket
from tests.sweep import workdirs
from tests.sweep.results_test import ranked

PLACE = "gs://any/lr"
TRAINER = """#!{python}
import sys
print("trains", sys.argv[-1])
print("config: 1 problem")
sys.exit("--config.seed=3" in sys.argv)
"""


@pytest.fixture
def root(tmp_path):
  with fake_bucket.serving(tmp_path / "bucket"):
    yield tmp_path / "bucket"


def make_points(folder) -> list[points.Point]:
  path = workdirs.write_sweep(folder, '[{"seed": 1}, {"seed": 2}, {"seed": 3}]')
  common = ["optim.num_steps=4", "optim.warmup_steps=2"]
  return points.make_points(path, PLACE, common, 1)


def write_run(root, point, num_rows: int, saved: bool) -> None:
  on_disk = dataclasses.replace(point, workdir=str(root / "lr" / point.name))
  workdirs.write_run(on_disk, num_rows, saved)
  if saved:
    place = root / "lr" / point.name / "checkpoints" / str(num_rows)
    (place / verification._LAST).touch()


def test_points_in_a_bucket_are_told_apart_and_collected(root, tmp_path):
  sweep = make_points(tmp_path)
  for point, count in zip(sweep, (4, 2)):
    write_run(root, point, count, saved=count == 4)
  statuses = local.statuses_of(sweep)
  assert [one.state for one in statuses] == ["done", "stopped", "waiting"]
  assert [one.step for one in statuses] == [4, 2, 0]
  states = [one.state for one in statuses]
  paths = results.collect(sweep, states, ranked(sweep, states), PLACE)
  shutil.move(root / "lr", tmp_path / "runs")
  disk = [
    dataclasses.replace(p, workdir=str(tmp_path / "runs" / p.name))
    for p in sweep
  ]
  assert paths == [f"{PLACE}/sweep.{kind}" for kind in ("csv", "png", "html")]
  found = (tmp_path / "runs" / "sweep.csv").read_text()
  assert found == results.format_csv(disk, states, ranked(disk, states))
  shutil.move(tmp_path / "runs", root / "lr")
  # Saved to the end, but for the object that says so.
  last = root / "lr" / "seed=1" / "checkpoints" / "4"
  (last / verification._LAST).unlink()
  (last / "state").touch()
  assert status.stored_state(sweep[0]) == "stopped"


def test_points_run_here_with_their_workdirs_in_a_bucket(
  root, tmp_path, monkeypatch
):
  trainer = tmp_path / "trainer"
  trainer.write_text(TRAINER.format(python=sys.executable))
  trainer.chmod(0o700)
  fake = types.SimpleNamespace(executable=str(trainer))
  monkeypatch.setattr(local, "sys", fake)
  monkeypatch.setattr(local.tempfile, "tempdir", str(tmp_path / "temporary"))
  (tmp_path / "temporary").mkdir()
  sweep = make_points(tmp_path)
  write_run(root, sweep[0], 4, saved=True)
  out = io.StringIO()
  for count in (1, 2):
    states = local.run_all(sweep, ["1", "2", "3"], out)
    assert states == ["done", "stopped", "failed"]
    log = storage.read_bytes(f"{PLACE}/seed=2/train.log").decode()
    assert log == "trains --config.seed=2\nconfig: 1 problem\n" * count
  assert not (root / "lr" / "seed=1" / "train.log").exists()
  said = f"failed: seed=3: config: 1 problem\n  log: {PLACE}/seed=3/train.log"
  assert said in out.getvalue()
  assert not [*(tmp_path / "temporary").iterdir()]


def test_a_workdir_in_a_bucket_of_another_configuration_is_refused(
  root, tmp_path
):
  sweep = make_points(tmp_path)
  write_run(root, sweep[0], 2, saved=False)
  points.check_workdirs(sweep)
  path = root / "lr" / "seed=1" / writers.CONFIG_FILE
  path.write_text(path.read_text().replace('"seed": 1', '"seed": 7'))
  with pytest.raises(ConfigError, match="gs://any/lr.*seed") as caught:
    points.check_workdirs(sweep)
  assert "was run with another value" in str(caught.value)


def test_jobs_get_workdirs_in_the_bucket(tmp_path):
  point = make_points(tmp_path)[0]
  words = jobs.job_command("gke", jobs.job_name(PLACE, 0), point, [])
  assert words[words.index("--workdir") + 1] == f"{PLACE}/seed=1"
  assert "lr-000" in words
