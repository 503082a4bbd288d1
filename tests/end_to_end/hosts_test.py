"""The trainer in two processes of two devices, over loopback."""

import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from data_pipelines.common import checksums
from sapiens2_jax.runtime import goodput
from sapiens2_jax.training import checkpoints, verification, writers
from tests import tiny_task
from tests.data_pipelines import fake_bucket
from tests.end_to_end import commands
from tests.evaluation import labelled

pytestmark = pytest.mark.slow
NUM_STEPS = 12
HEARTBEAT = 5.0
OPTIONS = (
  f"optim.num_steps={NUM_STEPS}",
  "checkpoint.every=4",
  "checkpoint.keep_last=3",
  "mesh.fsdp=4",
  # At the end: in whatever number of processes it is reached.
  f"probes.every={NUM_STEPS}",
  "probes.num_images=7",
  "probes.tasks=('normal','segmentation')",
  f"distributed.heartbeat_timeout={HEARTBEAT}",
)


def command_of(root: pathlib.Path, name: str, *options: str) -> list[str]:
  """Trains in `root`/`name`."""
  probed = f"probes.path={root / 'probed'}"
  given = (*OPTIONS, probed, *options)
  return commands.tiny_command(root / name, root / "images", *given)


def wait(processes, logs: pathlib.Path) -> tuple[list[int], list[str]]:
  """Exit codes and logs."""
  try:
    codes = [process.wait(timeout=240) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return codes, [pathlib.Path(f"{logs}.{i}").read_text() for i in (0, 1)]


def run_two(command, logs, *second: str) -> list[str]:
  """Logs of both, which must exit 0."""
  codes, texts = wait(commands.start_two(command, logs, *second), logs)
  assert codes == [0, 0], "\n".join(texts)
  return texts


def run_one(command, num_devices: int) -> str:
  """What it printed; it must exit 0."""
  done = commands.run(command, commands.environment(num_devices))
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
  """A run of two processes from start to end, and its logs."""
  root = tmp_path_factory.mktemp("hosts")
  commands.write_images(root / "images")
  found = [labelled.make_record(n) for n in range(7)]
  tiny_task.write_corpus(root / "probed", found)
  whole = root / "whole"
  command = command_of(root, "whole")
  logs = run_two(command, root / "whole_log")
  return root, whole, logs


def assert_close_metrics(found: pathlib.Path, expected: pathlib.Path) -> None:
  pairs = zip(
    writers.read_metrics(str(found)),
    writers.read_metrics(str(expected)),
    strict=True,
  )
  for one, other in pairs:
    assert one.keys() == other.keys()
    for name, value in other.items():
      # Sums over devices in another order; the order grows into later steps.
      np.testing.assert_allclose(
        one[name], value, rtol=1e-5, atol=1e-5, err_msg=name
      )


def test_two_processes_compute_what_one_does(setting):
  root, whole, _ = setting
  alone = root / "alone"
  run_one(command_of(root, "alone", "mesh.fsdp=1"), 1)
  # One more has the probes.
  assert len(writers.read_metrics(str(whole))) == NUM_STEPS + 1
  assert_close_metrics(whole, alone)
  last = writers.read_metrics(str(whole))[-1]
  assert {"probe_normal_deg", "probe_segmentation_miou", "probe_mrr"} < {*last}


def test_one_process_writes_and_speaks(setting):
  _, whole, logs = setting
  assert [row["step"] for row in writers.read_speed(str(whole))] == list(
    range(NUM_STEPS)
  )
  assert len(list((whole / "tensorboard").iterdir())) == 1
  assert f"step {NUM_STEPS}/{NUM_STEPS}" in logs[0]
  assert "goodput    " in logs[0]
  # The library of collectives speaks for itself.
  others = [line for line in logs[1].splitlines() if "Gloo" not in line]
  assert not [line for line in others if "connected" not in line]


def continue_elsewhere(setting, name: str, *options: str):
  """Command and workdir that go on from step 4 of the run of two.

  Of the later checkpoints one is gone and one damaged.
  """
  root, whole, _ = setting
  workdir = root / name
  shutil.copytree(whole, workdir)
  shutil.rmtree(workdir / "checkpoints" / "8")
  files = (workdir / "checkpoints" / "12").rglob("*/d/*")
  largest = max(files, key=lambda path: path.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(content)
  return command_of(root, name, *options), workdir


def test_a_checkpoint_of_two_continues_on_one_device(setting):
  _, whole, _ = setting
  command, workdir = continue_elsewhere(setting, "one_device", "mesh.fsdp=1")
  assert "resumed at step 4, example 32" in run_one(command, 1)
  assert goodput.load(str(workdir)).starts == 2
  assert_close_metrics(workdir, whole)


def test_a_checkpoint_of_two_continues_on_another_mesh_and_interval(setting):
  root, whole, _ = setting
  options = ("mesh.data=2", "mesh.fsdp=2", "checkpoint.every=0")
  command, workdir = continue_elsewhere(setting, "other_mesh", *options)
  texts = run_two(command, root / "other_mesh_log")
  assert "resumed at step 4, example 32" in texts[0]
  assert_close_metrics(workdir, whole)
  assert texts[0].count("checkpoint 12 is passed over: ") == 1
  assert "passed over" not in texts[1]
  assert (workdir / "damaged" / "12").is_dir()
  # The trial of what a save costs; then the last step, within a minute.
  assert "saved      step 7" in texts[0]
  steps = {path.name for path in (workdir / "checkpoints").iterdir()}
  assert steps == {"4", "7", "12"}


def has_rows(workdir: pathlib.Path, count: int) -> Callable[[], bool]:
  return lambda: len(writers.read_metrics(str(workdir))) >= count


def stop_when(ready: Callable[[], bool], processes, victim: int, number: int):
  """Sends a signal to one of the processes; returns when that was."""
  deadline = time.monotonic() + 240
  while not ready():
    ended = [process.poll() is not None for process in processes]
    assert not any(ended) and time.monotonic() < deadline
    time.sleep(0.01)
  processes[victim].send_signal(number)
  return time.monotonic()


def assert_ended_soon(killed: float) -> None:
  """Within the heartbeat, three of its intervals, and a busy machine's 20 s."""
  assert time.monotonic() - killed < 1.3 * HEARTBEAT + 20


def test_signals_to_one_process_stop_both_and_the_run_ends_equal(setting):
  root, whole, _ = setting
  workdir, logs = root / "stopped", root / "stopped_log"
  command = command_of(root, "stopped")

  # SIGTERM: one step for all, whole on disk.
  processes = commands.start_two(command, logs)
  stop_when(has_rows(workdir, 2), processes, 1, signal.SIGTERM)
  codes, texts = wait(processes, logs)
  assert codes == [0, 0], "\n".join(texts)
  step, _ = checkpoints.latest(str(workdir))
  assert f"Saved step {step} after SIGTERM." in texts[0]
  assert len(writers.read_metrics(str(workdir))) == step

  # SIGKILL: the other one names the dead, soon.
  processes = commands.start_two(command, logs)
  ready = has_rows(workdir, step + 1)
  killed = stop_when(ready, processes, 1, signal.SIGKILL)
  codes, texts = wait(processes, logs)
  assert_ended_soon(killed)
  assert codes == [1, -signal.SIGKILL]
  name = f"process 1 ({os.uname().nodename})"
  assert f"{name} gave no sign of life for" in texts[0]

  texts = run_two(command, logs)
  assert "resumed at step" in texts[0]
  name = writers.METRICS_FILE
  assert (workdir / name).read_bytes() == (whole / name).read_bytes()
  ledger = goodput.load(str(workdir))
  assert ledger.starts == 3
  assert sum(ledger.seconds.values()) == pytest.approx(
    ledger.updated - ledger.started
  )


def test_a_checkpoint_on_the_hosts_disks_is_newer_and_is_restored(setting):
  root, whole, _ = setting
  disks, logs = (root / "disk0", root / "disk1"), root / "local_log"
  command, workdir = continue_elsewhere(
    setting,
    "local",
    "mesh.data=2",
    "mesh.fsdp=2",
    "checkpoint.every=100",
    "checkpoint.local_every=6",
    f"checkpoint.local_directory={disks[0]}",
  )
  second = f"checkpoint.local_directory={disks[1]}"
  # The second part of mesh.data saves before step 6.
  processes = commands.start_two(command, logs, second)
  killed = stop_when(
    lambda: any(disks[1].glob("*/local/6")), processes, 0, signal.SIGKILL
  )
  codes, texts = wait(processes, logs)
  assert_ended_soon(killed)
  assert codes == [-signal.SIGKILL, 1]
  assert "process 0 (coordinator at localhost:" in texts[1]
  assert checkpoints.latest(str(workdir))[0] == 4
  (local,) = disks[1].glob("*/local/6")
  listed = checksums.read(local / "checksums.json")
  assert {*listed, "checksums.json"} == {*checksums.find_files(local)}

  texts = run_two(command, logs, second)
  assert "resumed at step 6, example 48" in texts[0]
  assert_close_metrics(workdir, whole)
  assert checkpoints.latest(str(workdir))[0] == NUM_STEPS


def test_two_processes_that_share_a_bucket_and_no_disk(setting):
  root, whole, _ = setting
  for name in ("images", "probed"):
    shutil.copytree(root / name, root / "objects" / name)
  logs, probed = root / "bucket_log", "probes.path=gs://runs/probed"
  command = commands.tiny_command(
    "gs://runs/a", "gs://runs/images", *OPTIONS, probed
  )
  with fake_bucket.FakeBucket(root / "objects") as bucket:
    bucket.fail_often(0.005)
    processes = commands.start_two(
      command, logs, env=bucket.environment(), are_apart=True
    )
    codes, texts = wait(processes, logs)
  assert codes == [0, 0], "\n".join(texts)
  name, workdir = writers.METRICS_FILE, root / "objects" / "a"
  assert (workdir / name).read_bytes() == (whole / name).read_bytes()
  assert goodput.load(str(workdir)).starts == 1
  assert len(list((workdir / "tensorboard").iterdir())) == 3  # Saves.
  steps = {path.name for path in (workdir / "checkpoints").iterdir()}
  assert steps == {"4", "8", "12"}
  for step in steps:
    assert not verification.find_problems(workdir / "checkpoints" / step)
  written = {p.name for i in (0, 1) for p in root.glob(f"bucket_log.{i}.d/*")}
  assert written <= {"experiments", ".cache"}


def test_two_processes_start_from_the_encoder_of_a_run(setting):
  root, whole, _ = setting
  workdir = root / "continued"
  command = command_of(root, "continued", f"model.init_from={whole}")
  texts = run_two(command, root / "continued_log")
  assert f"weights    from {whole}, step {NUM_STEPS}\n" in texts[0]
  assert "new      nothing" in texts[0]
  # What was learned shows in the first step, before any update; a row of probes
  # stands before that of the new run.
  first, fresh = (
    next(row for row in writers.read_metrics(str(w)) if row["step"] == 0)
    for w in (workdir, whole)
  )
  assert first["feature_std"] > fresh["feature_std"] + 0.03


def test_a_mistake_of_one_process_ends_both_with_its_name(setting):
  root, _, _ = setting
  logs = root / "mistake_log"
  command = command_of(root, "mistake")
  processes = commands.start_two(command, logs, f"data.path={root / 'nowhere'}")
  codes, texts = wait(processes, logs)
  assert codes == [2, 2]
  assert "process 1" in texts[0] and str(root / "nowhere") in texts[0]
  assert "Traceback" not in texts[0] + texts[1]


def test_workdirs_that_are_not_one_place_end_both_before_the_first_step(
  setting,
):
  root, _, _ = setting
  logs, first, other = root / "place_log", root / "disk_a", root / "disk_b"
  command = command_of(root, first.name)
  soon = "from sapiens2_jax.runtime import place; place.VISIBLE_SECONDS = 1.0\n"
  command[2] = soon + command[2]
  processes = commands.start_two(command, logs, f"--workdir={other}")
  codes, texts = wait(processes, logs)
  assert codes == [2, 2], "\n".join(texts)
  host = os.uname().nodename
  for text in texts:
    assert (
      f"Process 0 ({host}) wrote {first}/lock.json; 1 of 2 processes do not "
      f"see it: process 1 ({host}): no directory {other}. Expected one"
    ) in text
    assert "Traceback" not in text
  assert not other.exists()
  assert not [*first.iterdir()]


def test_a_process_that_stays_alone_says_so(tmp_path):
  command = commands.tiny_command(
    tmp_path / "run",
    tmp_path,
    "distributed.coordinator_address=localhost:1",
    "distributed.num_processes=2",
    "distributed.process_id=1",
    "distributed.start_timeout=3.0",
  )
  done = commands.run(command, commands.environment())
  assert done.returncode == 1
  assert "process 0 did not come to localhost:1 within 3 s" in done.stderr
