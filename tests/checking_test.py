"""What would end a run at its start is told before, and nothing is started."""

import os
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import pytest

from data_pipelines.common import locks, remote
from sapiens2_jax import checking
from sapiens2_jax.objectives import build_objective
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.runtime import place
from sapiens2_jax.training import optimizer
from sapiens2_jax.training import state as state_lib
from sapiens2_jax.training.checkpoints import Checkpointer
from sapiens2_jax.validation import read_config
from tests import tiny
from tests.data_pipelines import fake_bucket
from tests.end_to_end import commands
from tests.training import small_runs


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
  return commands.write_images(tmp_path_factory.mktemp("checking") / "images")


def check(workdir, *overrides: str, devices: int = 1, is_elsewhere=False):
  """What is said of a run."""
  lines = []
  checking.check(
    tiny.load_config(*overrides, num_devices=devices),
    str(workdir),
    devices,
    is_elsewhere=is_elsewhere,
    say=lines.append,
  )
  return lines


def test_a_run_that_could_start_is_told_and_leaves_nothing(tmp_path, data):
  given = (f"data.path={data}", "mesh.fsdp=-1")
  sizes = []
  for devices in (1, 16):
    config, memory, compute, found, workdir = check(
      tmp_path / "a" / "run", *given, devices=devices
    )
    assert config == (
      f"config     tiny on {devices} device(s), data=1 x fsdp={devices} x "
      "sequence=1 x tensor=1"
    )
    assert compute.startswith("compute    0.00")
    assert found == f"data       {data}: 6 images"
    assert workdir == f"workdir    {tmp_path}/a/run: starts fresh"
    sizes.append(float(memory.split()[1]))
  assert 0 < sizes[1] < sizes[0]
  assert not [*tmp_path.iterdir()]


def test_all_problems_are_told_at_once(tmp_path, data):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError) as told:
    check(
      tmp_path / "file" / "run",
      f"data.path={tmp_path}/nowhere",
      *("probes.every=5", f"probes.path={tmp_path}/probed"),
      f"model.init_from={tmp_path}/weights",
    )
  head, *lines = str(told.value).splitlines()
  assert head == "check: 4 problems"
  assert f"data.path={tmp_path}/nowhere: " in lines[0]
  assert f"probes.path={tmp_path}/probed: " in lines[1]
  assert lines[2].endswith(
    f"workdir: [Errno 20] Not a directory: '{tmp_path}/file'"
  )
  assert lines[3].startswith("  model.init_from: ")


def test_a_package_that_the_run_needs_is_missed(tmp_path, data, monkeypatch):
  monkeypatch.setitem(sys.modules, "wandb", None)
  given = (f"data.path={data}", "logging.wandb_project=people")
  with pytest.raises(
    ValueError,
    match=r"1 problem\n  logging\.wandb_project=people: wandb is not",
  ):
    check(tmp_path, *given)
  # Elsewhere it may be there.
  lines = check(tmp_path, *given, is_elsewhere=True)
  assert any(line.startswith("not seen   logging.wandb_") for line in lines)


@pytest.mark.parametrize("name", ["HttpError", "DefaultCredentialsError"])
def test_a_bucket_that_lets_in_others_only_is_not_seen_from_here(
  tmp_path, data, monkeypatch, name
):
  def info(_):
    # As gcsfs raises it, of a class that is no OSError.
    raise type(name, (Exception,), {"code": 401})("Anonymous caller")

  files = types.SimpleNamespace(info=info, cat_file=info, ls=info)
  monkeypatch.setattr(remote, "resolve", lambda url: (files, url))
  given = ("gs://runs/p04", f"data.path={data}")
  lines = check(*given, is_elsewhere=True)
  assert lines[-1].startswith("not seen   workdir: gs://runs/p04/")
  monkeypatch.setattr(checking, "_try_to_write", lambda _: None)
  with pytest.raises(ValueError, match="these credentials may not use it"):
    check(*given)


def test_a_mesh_that_fits_no_array_is_refused_with_all_else(tmp_path):
  with pytest.raises(ValueError) as told:
    check(
      tmp_path / "run",
      *("data.path=/nowhere", "mesh.fsdp=5", "data.global_batch_size=40"),
      devices=5,
    )
  head, mesh, *arrays, last = str(told.value).splitlines()
  assert (head, mesh) == (
    "check: 2 problems",
    "  mesh does not fit the model:",
  )
  assert any("of 48 is not divided by mesh fsdp=5" in line for line in arrays)
  assert last.startswith("  data.path=/nowhere: ")


def test_what_only_other_machines_have_is_no_mistake(tmp_path, data):
  away = f"{tmp_path}/mnt"
  lines = check(
    f"{away}/run",
    f"data.path=coco:{away}/a.json,images={away}/img;{data}",
    f"model.init_from={away}/weights",
    is_elsewhere=True,
  )
  assert lines[3:] == [
    f"not seen   data.path: {away}/a.json, {away}/img not here",
    f"not seen   workdir: {away}/run not here",
    f"not seen   model.init_from: {away}/weights not here",
  ]
  # But what is here is looked at.
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match="holds no images"):
    check(f"{away}/run", f"data.path={tmp_path}/empty", is_elsewhere=True)


def test_a_bucket_that_does_not_answer_counts_where_the_run_is(
  tmp_path, monkeypatch
):
  for cause in (OSError(5, "no answer"), ImportError("gcsfs")):

    def fail(_, cause=cause):
      raise ValueError("data.path=gs://b: cannot be looked at") from cause

    monkeypatch.setattr(checking.data, "open_source", fail)
    kind = OSError if isinstance(cause, OSError) else ValueError
    with pytest.raises(kind, match="check: 1 problem\n  data.path=gs://b: can"):
      check(tmp_path / "run", "data.path=gs://b")
    told = check(tmp_path / "run", "data.path=gs://b", is_elsewhere=True)
    assert told[3].startswith("not seen   data.path: data.path=gs://b: cannot")


def test_a_workdir_in_a_bucket_is_looked_at_and_left_as_it_was(tmp_path, data):
  given = f"data.path={data}"
  with fake_bucket.serving(tmp_path) as bucket:
    line = check("gs://runs/new", given)[-1]
    assert line == "workdir    gs://runs/new: starts fresh"
    # It was tried, and undone.
    assert any("/upload/" in url for url, _ in bucket.requests)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
    small_runs.save(tmp_path / "other", [10])
    with pytest.raises(ValueError, match="its checkpoint 10 was made with"):
      check("gs://runs/other", given)
    # All of them see one bucket; another one has no such lock.
    write_lock = locks.Lock("gs://runs/new/lock.json", "", token="ours")
    assert write_lock.attempt() == 0
    assert place.look("gs://runs/new/lock.json", "ours", 0) == ""
    other = place.look("gs://runs/else/lock.json", "ours", 0)
    assert "no directory gs://runs/else" in other
  with pytest.raises(ValueError, match="workdir=s3://b/run: expected gs://"):
    check("s3://b/run", given)


def test_a_workdir_that_is_in_use_is_refused(tmp_path, data, monkeypatch):
  monkeypatch.setattr(locks, "INTERVAL", 0.1)
  lock = locks.Lock(tmp_path / "lock.json", tmp_path)
  lock.take()
  held = (tmp_path / "lock.json").read_bytes
  try:
    with pytest.raises(ValueError, match=f"{tmp_path}: in use by process"):
      check(tmp_path, f"data.path={data}")
    assert held()
  finally:
    lock.release()
  assert "starts fresh" in check(tmp_path, f"data.path={data}")[-1]
  assert os.listdir(tmp_path) == []


def test_a_run_that_is_there_must_fit(tmp_path, data):
  staged = (f"data.path={data}", "data.stages=32x32,16x16,0.5")
  config = tiny.load_config(*staged)
  objective = build_objective(config)
  abstract = state_lib.abstract_state(
    config,
    objective,
    optimizer.make_optimizer(config.optim),
    mesh_lib.make_mesh(config.mesh, jax.devices()[:1]),
  )
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), abstract)
  checkpointer = Checkpointer(str(tmp_path / "own"), config, read_config)
  checkpointer.save(zeros, 3, 3 * config.data.global_batch_size)
  checkpointer.close()
  (*_, line) = check(tmp_path / "own", f"data.path={data}")
  assert line == f"workdir    {tmp_path}/own: continues at step 3"
  with pytest.raises(ValueError, match="does not divide the data position"):
    check(tmp_path / "own", f"data.path={data}", "data.global_batch_size=32")
  *_, first, second, total, _, line = check(tmp_path / "own", *staged)
  assert first.startswith("compute    steps 1 to 110 at 32 x 32 pixels: ")
  assert second.startswith("compute    steps 111 to 220 at 64 x 48 pixels: ")
  assert total.endswith("TFLOP for the whole run (useful, closed form)")
  assert line.endswith("continues at step 3")
  with pytest.raises(ValueError, match="which have taken 48 images; with data"):
    check(tmp_path / "own", *staged, "data.global_batch_size=8")
  with pytest.raises(ValueError, match="step 4 of optim.num_steps=4 would be"):
    check(tmp_path / "own", *staged, "optim.num_steps=4")
  small_runs.save(tmp_path / "other", [10])
  with pytest.raises(ValueError, match="its checkpoint 10 was made with other"):
    check(tmp_path / "other", f"data.path={data}")


def test_the_command_ends_with_2_and_starts_nothing(tmp_path):
  command = commands.train_command(
    tmp_path / "run", tmp_path / "nowhere", "mesh.fsdp=4"
  )
  env = commands.environment()
  done = commands.run([*command, "--check", "--num_devices", "4"], env)
  assert done.returncode == 2
  assert done.stdout.startswith(
    "config     toy on 4 device(s), data=1 x fsdp=4"
  )
  assert done.stderr.startswith("check: 1 problem\n  data.path=")
  assert "Traceback" not in done.stderr
  assert not [*tmp_path.iterdir()]
