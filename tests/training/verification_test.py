"""Damaged checkpoints are found, said and passed over; nothing else is."""

import errno
import json
import os
import shutil
import threading
import time
import types

import chex
import jax
import numpy as np
import pytest

from data_pipelines.common import checksums
from sapiens2_jax.objectives import stages_of
from sapiens2_jax.training import (
  checkpoints,
  starting,
  stored,
  verification,
)
from sapiens2_jax.validation import read_config
from tests import old_runs, tiny
from tests.training import small_runs
from tests.training.small_runs import assert_state_of, flip, largest


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("saved") / "run"
  small_runs.save(workdir)
  return workdir


@pytest.fixture
def workdir(saved, tmp_path):
  """A copy of a run with three checkpoints; nothing was said of it yet."""
  verification._compare.cache_clear()
  verification._said.clear()
  return shutil.copytree(saved, tmp_path / "run")


def all_files(workdir) -> dict[str, bytes]:
  names = checksums.find_files(workdir)
  return {name: (workdir / name).read_bytes() for name in names}


def test_a_list_holds_every_file_and_a_whole_run_says_nothing(workdir, capfd):
  assert_state_of(30, small_runs.restore(workdir))
  for step in small_runs.STEPS:
    path = small_runs.path(workdir, step)
    listed = checksums.read(path / verification.LIST)
    assert {*listed, verification.LIST} == {*checksums.find_files(path)}
  said = capfd.readouterr()
  assert not said.err + said.out
  assert not (workdir / "damaged").exists()


def test_a_flipped_bit_falls_back_and_the_step_is_saved_anew(workdir, capfd):
  bad = largest(small_runs.path(workdir, 30))
  flip(bad, 70)
  assert_state_of(20, small_runs.restore(workdir))
  said = capfd.readouterr().err.splitlines()
  assert said[0].startswith(f"checkpoint 30 is passed over: {bad}: SHA-256 is")
  assert said[1:] == [f"checkpoint 30 is set aside: {workdir}/damaged/30"]
  small_runs.save(workdir, (30,))
  assert_state_of(30, small_runs.restore(workdir))
  # Again: what was set aside before is replaced.
  verification._compare.cache_clear()
  flip(largest(small_runs.path(workdir, 30)))
  assert_state_of(20, small_runs.restore(workdir))


def test_what_is_set_aside_may_lie_on_another_disk(workdir, monkeypatch):
  """As where `checkpoints` is a link."""

  def refuse(source, target, *_, **more):
    raise OSError(errno.EXDEV, "Invalid cross-device link", source)

  flip(largest(small_runs.path(workdir, 30)))
  found = checkpoints.find(str(workdir))
  for name in ("rename", "replace"):
    monkeypatch.setattr(os, name, refuse)
  verification.set_aside(found.skipped)
  assert (workdir / "damaged" / "30" / "checksums.json").exists()
  assert not small_runs.path(workdir, 30).exists()


def test_one_that_a_run_removes_in_the_meantime_is_not_damaged(
  workdir, monkeypatch, capfd
):
  find_problems = verification.find_problems

  def find_late(path, verify):
    if path.name == "30":
      shutil.copytree(path.with_name("20"), path.with_name("40"))
      file = path.with_name("40") / "run" / "metadata"
      file.write_text(file.read_text().replace('"step": 20', '"step": 40'))
      (path.with_name("40") / "checksums.json").unlink()
      verification._write_list(path.with_name("40"))
      shutil.rmtree(path)
    return find_problems(path, verify)

  monkeypatch.setattr(verification, "find_problems", find_late)
  assert checkpoints.latest(str(workdir))[0] == 40
  assert capfd.readouterr().err == ""


def test_a_workdir_may_lie_right_below_the_root():
  assert not checkpoints.is_one("/sapiens2_runs")
  assert checkpoints.find("/sapiens2_runs") is None


@pytest.mark.parametrize(
  ("harm", "reason"),
  [
    (lambda path: (path / "run/metadata").unlink(), "run/metadata: missing"),
    (lambda path: (path / "run/metadata").write_text("{}"), "2 bytes, exp"),
    (lambda path: (path / "checksums.json").unlink(), "json: missing"),
    (lambda path: (path / "checksums.json").write_text("[]"), "damaged list"),
    (lambda path: shutil.rmtree(path / "state"), ": missing (and 1"),
    (lambda path: largest(path).write_bytes(b""), "0 bytes, expected"),
    (
      lambda path: (
        shutil.rmtree(path),
        shutil.copytree(path.with_name("10"), path),
      ),
      "holds step 10",
    ),
  ],
)
def test_each_harm_is_named_and_passed_over(workdir, harm, reason, capfd):
  harm(small_runs.path(workdir, 30))
  assert_state_of(20, small_runs.restore(workdir))
  first, *_ = capfd.readouterr().err.splitlines()
  assert first.startswith("checkpoint 30 is passed over: ") and reason in first


def test_two_damaged_ones_are_passed_over(workdir, capfd):
  for step in (30, 20):
    flip(largest(small_runs.path(workdir, step)))
  assert_state_of(10, small_runs.restore(workdir))
  assert capfd.readouterr().err.count("is passed over") == 2


@pytest.mark.parametrize("reader", ["restore", "latest"])
def test_without_a_whole_one_nothing_changes(workdir, reader):
  for step in small_runs.STEPS:
    flip(largest(small_runs.path(workdir, step)))
  before = all_files(workdir)
  read = {
    "restore": lambda: small_runs.restore(workdir),
    "latest": lambda: checkpoints.latest(str(workdir)),
  }[reader]
  with pytest.raises(checksums.DamagedError, match="none of its 3 check"):
    read()
  assert all_files(workdir) == before


def test_all_readers_fall_back_and_change_nothing(workdir, capfd, caplog):
  flip(largest(small_runs.path(workdir, 30)))
  before, name = all_files(workdir), str(workdir)
  expected = small_runs.make_state(20).params

  def select(state):
    return state.params

  like = small_runs.abstract_state().params
  assert checkpoints.latest(name)[0] == 20
  assert checkpoints.load_run(name, read_config)[0] == 20
  step, opened = checkpoints.open_part(name, select)
  chex.assert_trees_all_equal(jax.tree.map(np.asarray, opened), expected)
  for loaded in ((), (like,)):
    found = checkpoints.load_part(name, select, *loaded)
    assert found[0] == step == 20
    chex.assert_trees_all_equal(found[1], expected)
  assert checkpoints.part_shapes(name, select)[0] == 20
  assert all_files(workdir) == before
  assert capfd.readouterr().err.count("\n") == 1  # Said once.
  assert not caplog.records  # Orbax has no warnings of whole checkpoints.


def test_verify_false_only_looks_for_what_must_be_there(workdir):
  flip(small_runs.path(workdir, 30) / "commit_success.txt")
  step, _ = small_runs.restore(workdir, "checkpoint.verify=false")
  assert step == 30
  shutil.rmtree(small_runs.path(workdir, 30) / "state")
  step, _ = small_runs.restore(workdir, "checkpoint.verify=false")
  assert step == 20


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_once(
  tmp_path, capfd
):
  old_runs.unpack("pretrain", tmp_path)
  workdir = tmp_path / "pretrain"
  for _ in range(2):
    assert checkpoints.latest(str(workdir))[0] == 4
  said = capfd.readouterr().err
  assert said.count("4: written by an earlier version, without check") == 1
  # What shows without checksums is found.
  (workdir / "checkpoints/4/state/manifest.ocdbt").unlink()
  with pytest.raises(checksums.DamagedError):
    checkpoints.latest(str(workdir))


def test_files_of_an_earlier_version_are_all_needed(tmp_path):
  old_runs.unpack("pretrain", tmp_path)
  path = tmp_path / "pretrain/checkpoints/4"
  part = largest(path)
  part.write_bytes(part.read_bytes()[:1000])
  assert verification.find_problems(path)[0].startswith(f"{path}/state: ")


def test_a_kill_before_the_last_name_leaves_no_checkpoint(workdir, monkeypatch):
  """At every point of a commit: either a list and the name, or neither."""
  reached = threading.Event()

  def die(*_):
    reached.set()
    raise OSError("killed")

  for module, name in ((checksums, "write"), (verification.os, "rename")):
    with monkeypatch.context() as patched:
      patched.setattr(module, name, die)
      checkpointer = small_runs.open_run(workdir)
      checkpointer.save(small_runs.make_state(40), 40, 40 * small_runs.BATCH)
      with pytest.raises(checkpoints.SaveError, match="killed"):
        checkpointer.close()
    assert reached.is_set()
    reached.clear()
    assert [p.name for p in (workdir / "checkpoints").glob("40.*")]
    assert_state_of(30, small_runs.restore(workdir))
  # Two managers in one process must not remove it at the same time.
  deadline = time.monotonic() + 60
  while [p.name for p in (workdir / "checkpoints").glob("40.*")]:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  small_runs.save(workdir, (40,))  # What is unfinished is in nobody's way.
  names = {path.name for path in (workdir / "checkpoints").iterdir()}
  assert names == {"10", "20", "30", "40"}


def test_chunks_are_read_through(workdir, monkeypatch):
  read = []
  monkeypatch.setattr(
    stored.StoredArray, "__getitem__", lambda self, index: read.append(index)
  )
  path = small_runs.path(workdir, 30) / "state"
  for part in (0, 1):
    stored.read_through(path, part, 2)
  assert len(read) == len(jax.tree.leaves(stored.stored_tree(path)))


def test_a_directory_that_is_no_step_is_left_alone(workdir):
  for name in ("031", "\u0662", "31.orbax-checkpoint-tmp", "notes"):
    (workdir / "checkpoints" / name).mkdir()
  (workdir / "checkpoints" / "99").write_text("a file")
  assert verification.newest_whole(workdir / "checkpoints").step == 30


def test_the_run_says_which_data_it_saw(workdir):
  small_runs.save(workdir, (40,), data={"records": 6, "hash": "ab"})
  found = checkpoints.find(str(workdir))
  assert found.run["data"] == {"records": 6, "hash": "ab"}
  assert json.loads(json.dumps(found.run["config"]))["seed"] == 0


def test_a_damaged_local_checkpoint_is_removed_and_said(workdir, capfd):
  local = workdir / "checkpoints"
  flip(largest(local / "20"))
  (local / "10" / verification.LIST).unlink()
  verification.remove_damaged(local)
  assert [path.name for path in local.iterdir()] == ["30"]
  said = capfd.readouterr().err
  assert "process 0: local checkpoint 20 is passed over and removed" in said
  assert "local checkpoint 10 is passed over and removed" in said


@pytest.mark.parametrize("when", ["poll", "save", "close"])
def test_a_full_disk_in_a_save_is_one_line(
  workdir, monkeypatch, when, capfd, caplog
):
  def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/file")

  monkeypatch.setattr(checksums, "write", fail)
  run = small_runs.open_run(workdir)
  run.save(small_runs.make_state(40), 40, 40 * small_runs.BATCH)
  with pytest.raises(checkpoints.SaveError) as caught:
    if when == "poll":
      while run.written == 0:
        run.poll()
    elif when == "save":
      run.save(small_runs.make_state(41), 41, 41 * small_runs.BATCH)
    else:
      run.close()
  message = str(caught.value)
  assert "GB free): [Errno 28] No space left on device: 'a/file'" in message
  assert "\n" not in message and str(workdir) in message
  said = capfd.readouterr()
  assert not said.err + said.out and not caplog.records


def check(workdir, *overrides: str, abstract=None) -> None:
  starting.check_fits(
    tiny.load_config(*overrides),
    str(workdir),
    checkpoints.find(str(workdir)),
    abstract or small_runs.abstract_state(),
    read_config,
    stages_of,
  )


def test_more_steps_do_not_undo_a_stage():
  # Half of 220 steps are done: of 440 these are a quarter.
  given = "data.stages=32x32,16x16,0.5"
  saved = tiny.load_config(given)

  def stages_at(step: int, *overrides: str) -> None:
    starting._check_stages(
      *(stages_of(saved), stages_of(tiny.load_config(*overrides)), step)
    )

  stages_at(109, given, "optim.num_steps=440")
  stages_at(110, "data.stages=32x32,16x16,0.25", "optim.num_steps=440")
  message = (
    "step 111 of optim.num_steps=440 would be at 32 x 32 pixels; with "
    "optim.num_steps=220 of the checkpoint it was to be at 64 x 48"
  )
  with pytest.raises(ValueError, match=message):
    stages_at(110, given, "optim.num_steps=440")


@pytest.mark.parametrize(
  ("override", "line"),
  [
    ("optim.name=muon", "optim.name: adamw -> muon"),
    ("model.size=toy", "model.size: tiny -> toy"),
    ("data.global_batch_size=32", ""),
    ("data.global_batch_size=64", "does not divide the data position"),
    ("optim.peak_lr=0.5", ""),
  ],
)
def test_a_run_for_something_else_is_refused_by_its_fields(
  workdir, override, line
):
  before = all_files(workdir)
  if line:
    with pytest.raises(ValueError, match=line):
      check(workdir, override)
  else:
    check(workdir, override)
  assert all_files(workdir) == before


def test_other_names_of_as_many_outputs_are_another_run(workdir, monkeypatch):
  line = "task.keypoints: ('nose',) -> ('tail',)"
  monkeypatch.setattr(starting.config_lib, "differences", lambda *_: [line])
  with pytest.raises(ValueError, match="task.keypoints: .*nose.*tail"):
    check(workdir)


def test_arrays_that_do_not_fit_are_named_with_the_fields(workdir):
  wanted = small_runs.abstract_state()
  center = jax.ShapeDtypeStruct((48,), np.float32)
  gram = jax.ShapeDtypeStruct((3,), np.float32)
  state = {"center": center, "gram": gram}
  with pytest.raises(ValueError) as caught:
    check(
      workdir,
      "model.prototypes=48",
      "optim.num_steps=9",
      "logging.every=7",
      abstract=wanted.replace(teacher_state=state),
    )
  lines = [line.strip() for line in str(caught.value).splitlines()]
  assert lines[0].startswith(f"workdir={workdir}: its checkpoint 30 was made")
  assert "model.prototypes: 32 -> 48" in lines
  assert not any("logging.every" in line for line in lines)
  assert "teacher_state/center: (40,), expected (48,)" in lines
  assert "teacher_state/gram: not stored, expected (3,)" in lines
  assert f"--config.model.init_from={workdir}" in lines[-1]
  assert check(workdir.with_name("fresh")) is None


def test_what_was_not_verified_and_cannot_be_read_is_one_line(workdir):
  bad = largest(small_runs.path(workdir, 30))
  bad.write_bytes(bad.read_bytes()[:1000])
  before = all_files(workdir)
  with pytest.raises(checksums.DamagedError) as caught:
    small_runs.restore(workdir, "checkpoint.verify=false")
  message = str(caught.value)
  assert message.startswith(f"{small_runs.path(workdir, 30)}: cannot be read: ")
  assert "\n" not in message and all_files(workdir) == before


def test_only_arrays_of_a_failed_save_are_silent():
  shown = []
  hook = checkpoints.without_closed_loops(shown.append)
  for text in ("Event loop is closed", "another"):
    hook(types.SimpleNamespace(exc_value=RuntimeError(text)))
  assert [str(one.exc_value) for one in shown] == ["another"]
