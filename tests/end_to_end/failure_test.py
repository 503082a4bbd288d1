"""What a user sees when a run cannot go on."""

import contextlib
import fcntl
import json
import signal

import numpy as np
import pytest

from tests.end_to_end import commands

pytestmark = pytest.mark.slow
SHARED = "optim.num_steps=30"  # As in resume_test.py: compiled once.


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
  root = tmp_path_factory.mktemp("failure")
  return root, commands.environment()


def test_all_config_mistakes_are_reported_at_once(setting):
  root, env = setting
  command = commands.tiny_command(
    root / "mistakes",
    root,
    "model.embed_dims=1024",
    "optim.peak_lr=fast",
    "mesh.fsdp=3",
    "masking.mask_ratio=0.5",
    "objective.koleo_group_size=5",
  )
  done = commands.run(command, env)
  assert done.returncode == 2
  assert "Traceback" not in done.stderr
  report = done.stderr[done.stderr.index("config: ") :].splitlines()
  assert report[0].startswith("config: 5 problems in experiments/pretrain.py")
  assert any("model.embed_dims=1024" in line for line in report)
  assert any("optim.peak_lr=fast" in line for line in report)
  assert any("does not multiply to 1 devices" in line for line in report)
  assert any("data.local_size" in line for line in report)
  assert any("no such field" in line for line in report)
  assert not (root / "mistakes").exists()


@pytest.mark.parametrize(
  ("spec", "message"),
  [
    ("experiments/pretrian.py", "no such file"),
    ("experiments/pretrain.py:size=0.5b", "did you mean 0.8b"),
    ("experiments/pretrain.py:sise=1b", "did you mean size"),
  ],
)
def test_a_wrong_experiment_is_named(setting, spec, message):
  root, env = setting
  command = commands.train_command(root / "spec", root)
  command[command.index("--config") + 1] = spec
  done = commands.run(command, env)
  assert done.returncode == 2
  assert message in done.stderr
  assert "Traceback" not in done.stderr


def test_a_workdir_that_cannot_hold_checkpoints_is_refused(setting):
  root, env = setting
  data = commands.write_images(root / "for_bucket")
  done = commands.run(commands.train_command("s3://bucket/run", data), env)
  assert done.returncode == 2
  assert "workdir=s3://bucket/run: expected gs://BUCKET/NAME" in done.stderr
  assert not (commands.ROOT / "s3:").exists()


def test_missing_data_is_one_line(setting):
  root, env = setting
  done = commands.run(
    commands.train_command(root / "none", root / "nowhere"), env
  )
  assert done.returncode == 2
  assert str(root / "nowhere") in done.stderr.splitlines()[-1]


def test_a_bad_file_is_skipped_and_named(setting):
  root, env = setting
  data = commands.write_images(root / "one_bad")
  (data / "broken.jpg").write_bytes((data / "0.png").read_bytes()[:60])
  options = (SHARED, "data.max_skipped_fraction=0.9")
  workdir = root / "skips"
  done = commands.run(commands.tiny_command(workdir, data, *options), env)
  assert done.returncode == 0, done.stdout + done.stderr
  rows = [
    json.loads(line)
    for line in (workdir / "skipped.jsonl").read_text().splitlines()
  ]
  assert rows
  assert {row["name"] for row in rows} == {"broken.jpg"}


def test_too_many_bad_files_stop_the_run(setting):
  root, env = setting
  data = commands.write_images(root / "many_bad", 3)
  for i in range(3):
    (data / f"broken{i}.jpg").write_bytes(b"no image")
  options = (SHARED, "data.max_skipped_fraction=0.2")
  done = commands.run(
    commands.tiny_command(root / "too_many", data, *options), env
  )
  assert done.returncode == 1
  assert "max_skipped_fraction" in done.stderr
  assert "Traceback" not in done.stderr


@contextlib.contextmanager
def never_answers(path):
  """Whoever opens the file waits, for 45 s: a lease that is not given back."""
  before = signal.signal(
    signal.SIGIO, signal.SIG_IGN
  )  # The kernel asks for it.
  try:
    with open(path, "r+b") as file:
      fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
      yield
  finally:
    signal.signal(signal.SIGIO, before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_never_answers_ends_the_run_with_its_name(setting, workers):
  root, env = setting
  data = commands.write_images(root / f"stalled{workers}")
  options = (
    f"data.num_workers={workers}",
    "data.read_attempts=2",
    "data.read_timeout=0.5",
  )
  workdir = root / f"stalled_run{workers}"
  with never_answers(data / "0.png"):
    done = commands.run(commands.tiny_command(workdir, data, *options), env)
  assert done.returncode == 1
  lines = [line for line in done.stderr.splitlines() if "given up" in line]
  assert "0.png: record 0: no answer within 0.5 s" in lines[0]
  assert "given up after 2 attempts" in lines[0]
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_does_not_wait_for_a_read_that_hangs(setting, workers):
  root, env = setting
  data = commands.write_images(root / f"hangs{workers}")
  # The reads go on for ten minutes, the test waits for two.
  options = (f"data.num_workers={workers}", "data.read_timeout=120.0")
  workdir = root / f"hangs_run{workers}"
  with never_answers(data / "0.png"):
    process = commands.run_until(
      commands.tiny_command(workdir, data, *options),
      env,
      lambda: (workdir / "metrics.jsonl").exists(),
      signal.SIGTERM,
    )
  assert process.returncode == 0
  assert "Saved step 0 after SIGTERM" in process.log
  assert (workdir / "checkpoints" / "0").is_dir()


# No rate that a config may have makes the toy diverge.
DIVERGING = """
from sapiens2_jax.training import schedules
schedules.SCHEDULES["cosine"] = lambda step, **_: 1e30
"""


def test_divergence_stops_the_run_and_keeps_the_batch(setting):
  root, env = setting
  data = commands.write_images(root / "good")
  workdir = root / "diverged"
  options = (
    "optim.num_steps=50",
    "optim.warmup_steps=1",
    "optim.max_nonfinite_steps=3",
  )
  command = commands.tiny_command(workdir, data, *options)
  command[2] = DIVERGING + command[2]
  done = commands.run(command, env)
  assert done.returncode == 1
  assert "not finite 3 times in a row" in done.stderr
  batch = np.load(workdir / "nonfinite_batch.npz")
  assert batch["global_crops"].shape == (1, 8, 2, 64, 48, 3)
  assert batch["index"].shape == (1, 8)


# The third step never returns.
HANGING = """
import time
from sapiens2_jax.training import step

def hang_at_third(*args, make=step.jit_train_step):
  step_fn, calls = make(*args), []
  def never_returns(*args):
    calls.append(None)
    if len(calls) == 3:
      time.sleep(600)
    return step_fn(*args)
  return never_returns
step.jit_train_step = hang_at_third
"""


def test_a_step_that_never_returns_ends_the_run_with_its_stacks(setting):
  root, env = setting
  data = commands.write_images(root / "hang")
  workdir = root / "hang_run"
  options = (SHARED, "watchdog.timeout=5.0", "data.batch_timeout=4.0")
  command = commands.tiny_command(workdir, data, *options)
  command[2] = HANGING + command[2]
  done = commands.run(command, env)
  assert done.returncode == 1
  message = done.stderr.splitlines()[-1]
  assert message.startswith(
    "step 3: nothing moved for 5 s (watchdog.timeout=5)"
  )
  assert "in phase 'step'" in message
  assert "in never_returns" in (workdir / "stacks-0.txt").read_text()
