"""Killed at any point, the same command ends as if nothing had happened."""

import signal

import numpy as np
import pytest

from sapiens2_jax.runtime import goodput
from sapiens2_jax.training import checkpoints, writers
from tests.end_to_end import commands
from tests.end_to_end.resuming import assert_same_end, num_rows, unfinished

pytestmark = pytest.mark.slow
NUM_STEPS = 30
OPTIONS = (
  f"optim.num_steps={NUM_STEPS}",
  "checkpoint.every=5",
  "checkpoint.keep_last=2",
)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
  root = tmp_path_factory.mktemp("resume")
  data = commands.write_images(root / "images")
  env = commands.environment()
  whole = root / "uninterrupted"
  done = commands.run(commands.tiny_command(whole, data, *OPTIONS), env)
  assert done.returncode == 0, done.stdout + done.stderr
  return root, data, env, whole


def test_sigkill_between_and_during_saves(setting):
  root, data, env, whole = setting
  workdir = root / "killed"
  command = commands.tiny_command(workdir, data, *OPTIONS)
  kill = signal.SIGKILL

  # Between two checkpoints.
  second = commands.run_until(
    command, env, lambda: num_rows(workdir) >= 13, kill
  )
  assert second.returncode == -kill

  # During a save: the half-written checkpoint is there after the kill.
  for _ in range(5):
    before = checkpoints.latest(str(workdir))[0]
    commands.run_until(
      command,
      env,
      lambda start=before: (
        unfinished(workdir) and num_rows(workdir) >= start + 4
      ),
      kill,
    )
    if unfinished(workdir):
      break
  assert unfinished(workdir)

  last = commands.run(command, env)
  assert last.returncode == 0, last.stdout + last.stderr
  assert "resumed at step" in last.stdout
  assert not unfinished(workdir)
  assert_same_end(workdir, whole, NUM_STEPS)

  ledger = goodput.load(str(workdir))
  assert ledger.line() in last.stdout
  assert ledger.starts >= 2  # The first may die before it is written down.
  assert ledger.seconds["lost"] > 0
  evaluated = ledger.seconds.pop("evaluate")  # This run has no evaluation.
  assert evaluated == 0 and min(ledger.seconds.values()) > 0
  wall = ledger.updated - ledger.started
  assert sum(ledger.seconds.values()) == pytest.approx(wall)


def test_sigterm_saves_and_exits_0_and_the_next_run_ends_equal(setting):
  root, data, env, whole = setting
  workdir = root / "terminated"
  command = commands.tiny_command(workdir, data, *OPTIONS)
  stopped = commands.run_until(
    command, env, lambda: num_rows(workdir) >= 8, signal.SIGTERM
  )
  assert stopped.returncode == 0
  step = checkpoints.latest(str(workdir))[0]
  assert f"Saved step {step} after SIGTERM." in stopped.log
  assert 8 <= step < NUM_STEPS
  # Data workers leave the run as it is.
  done = commands.run([*command, "--config.data.num_workers=2"], env)
  assert done.returncode == 0, done.stdout + done.stderr
  assert_same_end(workdir, whole, NUM_STEPS)


def test_a_finished_run_does_nothing_more(setting):
  _, data, env, whole = setting
  before = (whole / writers.METRICS_FILE).stat().st_mtime_ns
  again = commands.run(commands.tiny_command(whole, data, *OPTIONS), env)
  assert again.returncode == 0
  assert f"all {NUM_STEPS} steps are done" in again.stdout
  assert (whole / writers.METRICS_FILE).stat().st_mtime_ns == before


def test_a_run_goes_on_at_the_loss_at_which_another_one_ended(setting):
  root, data, env, whole = setting
  workdir = root / "gone_on"
  temperature = writers.read_metrics(str(whole))[-1]["teacher_temp"]
  options = (
    f"model.init_from={whole}",
    "optim.num_steps=6",
    "optim.warmup_steps=2",
    "optim.peak_lr=1e-4",
    f"objective.teacher_temp_start={temperature}",
  )
  done = commands.run(commands.tiny_command(workdir, data, *options), env)
  assert done.returncode == 0, done.stdout + done.stderr
  assert "new      nothing" in done.stdout
  losses, before = (
    [row["loss"] for row in writers.read_metrics(str(w))]
    for w in (workdir, whole)
  )
  end = np.mean(before[-5:])
  learned = before[0] - end
  assert learned > 0.1 and losses[0] < before[0] - 0.5 * learned
  assert abs(np.mean(losses) - end) < 0.25 * learned
