"""Checkpoints of runs in a bucket, over HTTP on this machine."""

import asyncio
import json
import pathlib
import shutil
import time
import types

import chex
import pytest

from data_pipelines.common import checksums, files, remote, storage
from sapiens2_jax.training import checkpoints, stored, verification
from tests.data_pipelines import fake_bucket
from tests.training import small_runs
from tests.training.small_runs import assert_state_of, flip, largest

RUN = "gs://runs/a"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  """A bucket with a run in it, and the directory that it is of."""
  root = tmp_path_factory.mktemp("bucket")
  with (
    pytest.MonkeyPatch.context() as patched,
    fake_bucket.serving(root) as bucket,
  ):
    patched.setattr(remote, "STALL_SECONDS", 2.0)
    small_runs.save("gs://runs/saved")
    yield bucket, root


@pytest.fixture
def bucket(server, monkeypatch):
  """The bucket, with a copy of the run, whose clients wait for little."""
  bucket, root = server
  workdir = root / "a"
  shutil.rmtree(workdir, ignore_errors=True)
  shutil.copytree(root / "saved", workdir)
  verification._compare.cache_clear()
  verification._said.clear()
  at_once = types.SimpleNamespace(sleep=lambda _: asyncio.sleep(0))
  monkeypatch.setattr("gcsfs.retry.asyncio", at_once)
  for name in ("initial_delay", "max_delay"):
    monkeypatch.setitem(stored._RETRIES["gcs_request_retries"], name, "10ms")
  yield bucket, workdir
  bucket.resume()


def names(workdir: pathlib.Path) -> set[str]:
  return {path.name for path in (workdir / "checkpoints").iterdir()}


def test_a_run_is_whole_and_read_as_one_on_a_disk(bucket, capfd):
  _, workdir = bucket
  assert_state_of(30, small_runs.restore(RUN))
  assert "passed over" not in capfd.readouterr().err
  assert not pathlib.Path("gs:").exists()
  path = workdir / "checkpoints" / "30"
  listed = checksums.read(path / verification.LIST)
  last = {verification.LIST, verification._LAST}
  assert {*listed} | last == {*checksums.find_files(path)}
  assert checkpoints.is_one(f"{RUN}/checkpoints/20")
  assert not checkpoints.is_one(f"{RUN}/checkpoints/21")
  expected = small_runs.make_state(20).params
  step, part = checkpoints.load_part(
    f"{RUN}/checkpoints/20", lambda state: state.params
  )
  assert step == 20
  chex.assert_trees_all_equal(part, expected)


def test_a_restart_lists_and_does_not_read_back(bucket):
  server, workdir = bucket
  del server.requests[:]
  path = storage.to_path(f"{RUN}/checkpoints/30")
  assert verification.find_problems(path) == []
  assert not [url for url, _ in server.requests if "/d/" in url]
  assert_state_of(30, small_runs.restore(RUN))


@pytest.mark.parametrize(
  ("harm", "reason"),
  [(pathlib.Path.unlink, "missing"), (flip, "MD5 is")],
  ids=("vanished", "changed"),
)
def test_a_damaged_object_is_named_and_set_aside(bucket, harm, reason, capfd):
  _, workdir = bucket
  path = largest(small_runs.path(workdir, 30))
  harm(path)
  assert_state_of(20, small_runs.restore(RUN))
  said = capfd.readouterr().err
  assert f"checkpoint 30 is passed over: {RUN}/checkpoints/30/state/" in said
  assert path.name in said and reason in said
  assert names(workdir) == {"10", "20"}
  kept = [path.name for path in (workdir / "damaged" / "30").iterdir()]
  assert {"state", "run", verification.LIST} < {*kept}


def test_what_has_no_last_object_is_no_checkpoint(bucket, monkeypatch, capfd):
  """At every point of a commit, and of a removal."""
  _, workdir = bucket

  def die(*_):
    raise OSError("killed")

  for module, name in (
    (checksums, "write"),
    (verification.distributed, "check_lock"),
  ):
    with monkeypatch.context() as patched:
      patched.setattr(module, name, die)
      checkpointer = small_runs.open_run(RUN)
      checkpointer.save(small_runs.make_state(40), 40, 40 * small_runs.BATCH)
      with pytest.raises(checkpoints.SaveError, match="killed"):
        checkpointer.close()
    assert "40" in names(workdir)
    assert checkpoints.latest(RUN)[0] == 30
  (workdir / "checkpoints" / "30" / verification._LAST).unlink()
  assert_state_of(20, small_runs.restore(RUN))
  assert "passed over" not in capfd.readouterr().err
  # Two managers in one process must not remove it at the same time.
  deadline = time.monotonic() + 60
  while names(workdir) != {"10", "20"}:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  small_runs.save(RUN, (30, 40))
  assert_state_of(40, small_runs.restore(RUN))


def test_no_object_of_an_old_checkpoint_is_left(bucket):
  """Though one client wrote them, and another one removes them."""
  _, workdir = bucket
  checkpointer = small_runs.open_run(RUN, "checkpoint.keep_last=2")
  for step in (40, 50):
    checkpointer.save(small_runs.make_state(step), step, 0)
  checkpointer.close()
  assert names(workdir) == {"40", "50"}


# An object that each client writes: TensorStore and gcsfs.
OBJECTS = ("state/ocdbt.process_0/manifest.ocdbt", "commit_success.txt")


def test_errors_that_pass_change_nothing(bucket):
  server, _ = bucket
  before = server.num_failed
  server.fail_often(0.05)
  small_runs.save(RUN, (40,))
  assert_state_of(40, small_runs.restore(RUN))
  assert server.num_failed > before


@pytest.mark.parametrize("name", OBJECTS)
def test_silence_that_passes_changes_nothing(bucket, name):
  server, _ = bucket
  before = server.num_stalled
  server.stall_next(1, f"checkpoints/40/{name}")
  small_runs.save(RUN, (40,))
  assert_state_of(40, small_runs.restore(RUN))
  assert server.num_stalled == before + 1


@pytest.mark.parametrize("name", OBJECTS)
def test_errors_that_last_fail_the_save_and_nothing_else(bucket, name):
  server, _ = bucket
  server.fail_next(10**6, f"checkpoints/40/{name}")
  checkpointer = small_runs.open_run(RUN)
  checkpointer.save(small_runs.make_state(40), 40, 40 * small_runs.BATCH)
  with pytest.raises(
    checkpoints.SaveError, match=f"not be written to {RUN}/checkpoints/40: "
  ) as caught:
    checkpointer.close()
  said = str(caught.value)
  assert "try again" in said and len(said) < 450
  server.resume()
  assert_state_of(30, small_runs.restore(RUN))


def test_a_bucket_that_does_not_answer_is_no_damage(bucket, capfd):
  server, workdir = bucket
  server.fail_next(10**6, "checkpoints/30")
  with pytest.raises(OSError, match=f"{RUN}/checkpoints/30.*try again"):
    small_runs.restore(RUN)
  server.resume()
  assert "passed over" not in capfd.readouterr().err
  assert names(workdir) == {"10", "20", "30"}


def test_copies_to_and_from_a_disk_are_verified(bucket, tmp_path, capfd):
  _, workdir = bucket
  shutil.copytree(workdir, tmp_path / "disk")
  assert_state_of(30, small_runs.restore(tmp_path / "disk"))
  small_runs.save(tmp_path / "disk", (40,))
  shutil.copytree(
    *(tmp_path / "disk" / "checkpoints", workdir / "checkpoints"),
    dirs_exist_ok=True,
  )
  listed = json.loads(
    (workdir / "checkpoints" / "40" / verification.LIST).read_text()
  )
  assert {key for entry in listed["files"].values() for key in entry} == {
    "bytes",
    "sha256",
  }
  assert_state_of(40, small_runs.restore(RUN))
  flip(largest(small_runs.path(workdir, 40)))
  flip(largest(small_runs.path(tmp_path / "disk", 30)))
  verification._compare.cache_clear()
  assert_state_of(30, small_runs.restore(RUN))
  (tmp_path / "disk" / "checkpoints" / "40" / verification.LIST).unlink()
  assert_state_of(20, small_runs.restore(tmp_path / "disk"))
  assert "MD5 is" in capfd.readouterr().err


def test_credentials_are_asked_for(bucket):
  server, _ = bucket
  server.deny()
  with pytest.raises(PermissionError, match=f"{RUN}/x: these credentials may"):
    storage.read_bytes(f"{RUN}/x")


def test_a_bucket_that_is_not_there_is_named(bucket):
  with pytest.raises(FileNotFoundError, match="gs://none/run/x: there is no"):
    files.write_file("gs://none/run/x", b"")
