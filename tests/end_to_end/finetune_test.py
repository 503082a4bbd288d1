"""Fine-tuning on a task: learns, is measured, and survives being stopped."""

import json
import pathlib
import signal
import sys

import numpy as np
import pytest

from sapiens2_jax.training import checkpoints, writers
from tests import tiny_task
from tests.end_to_end import commands, resuming

pytestmark = pytest.mark.slow
NUM_STEPS = 24
TRAINER = commands.TINY_TRAINER.replace("tests.tiny\n", "tests.tiny_task\n")


def command(workdir, corpus, *overrides):
  options = (
    "model.size=tiny",
    "model.scan=false",
    "optim.name=muon",
    f"data.path={corpus}",
    f"optim.num_steps={NUM_STEPS}",
    f"evaluation.path={corpus}",
    "evaluation.every=10",
    "evaluation.num_images=7",
    "checkpoint.every=5",
    "checkpoint.keep_last=1",
    "checkpoint.keep_best=eval_mae max",  # The first: it gets smaller.
    *overrides,
  )
  return [
    *(sys.executable, "-c", TRAINER),
    *("--config", tiny_task.SPEC, "--workdir", str(workdir)),
    *(f"--config.{option}" for option in options),
  ]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
  root = tmp_path_factory.mktemp("finetune")
  found = [tiny_task.make_record(n, n != 3) for n in range(12)]
  corpus = tiny_task.write_corpus(root / "corpus", found)
  env = commands.environment()
  whole = root / "whole"
  done = commands.run(command(whole, corpus), env)
  assert done.returncode == 0, done.stdout + done.stderr
  return root, corpus, env, whole, done.stdout


def read_state(workdir):
  return resuming.read_tree(workdir, NUM_STEPS)


def test_the_loss_falls(setting):
  rows = writers.read_metrics(str(setting[3]))
  losses = [row["loss"] for row in rows if "loss" in row]
  assert len(losses) == NUM_STEPS
  assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
  skipped = (setting[3] / "skipped.jsonl").read_text()
  assert "3.png" in skipped and "no labels" in skipped
  assert "loss_square" in rows[0] and "(square " in setting[4]


def test_the_metric_is_measured_at_its_steps_and_at_the_end(setting):
  rows = writers.read_metrics(str(setting[3]))
  found = [row for row in rows if "eval_mae" in row]
  assert [row["step"] for row in found] == [9, 19, 23]
  assert {row["eval_images"] for row in found} == {6}
  assert {row["eval_skipped"] for row in found} == {1}
  assert found[-1]["eval_mae"] < found[0]["eval_mae"]
  assert "eval 24  mae " in setting[4]
  (board,) = (setting[3] / "tensorboard").iterdir()
  found = board.read_bytes()
  assert all(found.count(b"eval/%02d" % number) == 3 for number in range(4))
  assert b"eval/04" not in found
  assert setting[4].count("is kept") == 1 and "\nbest 10  " in setting[4]
  steps = {path.name for path in (setting[3] / "checkpoints").iterdir()}
  assert steps == {"10", "24"}
  ledger = json.loads((setting[3] / "goodput.json").read_text())
  assert ledger["seconds"]["evaluate"] > 0


def test_two_processes_measure_while_training_what_one_does(setting):
  root, corpus, _, whole, _ = setting
  workdir, logs = root / "two", root / "two_log"
  given = command(workdir, corpus, "mesh.fsdp=2")
  processes = commands.start_many(given, logs, 2, 1)
  try:
    codes = [process.wait(timeout=240) for process in processes]
  finally:
    for process in processes:
      process.kill()
  texts = [pathlib.Path(f"{logs}.{i}").read_text() for i in (0, 1)]
  assert codes == [0, 0], "\n".join(texts)
  rows = [writers.read_metrics(str(w)) for w in (workdir, whole)]
  for found, expected in zip(*rows, strict=True):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
      # Sums over devices in another order; the order grows into later steps.
      np.testing.assert_allclose(
        found[name], value, rtol=1e-5, atol=1e-6, err_msg=name
      )
  assert sum("eval_mae" in row for row in rows[0]) == 3
  # Both have found the same best one, and kept it.
  steps = {path.name for path in (workdir / "checkpoints").iterdir()}
  assert steps == {"10", "24"}
  assert "\nbest 10  " in texts[0] and "eval" not in texts[1]


def test_stopped_and_killed_it_ends_as_if_nothing_had_happened(setting):
  root, corpus, env, whole, _ = setting
  workdir = root / "stopped"
  start = command(workdir, corpus)

  def has_rows(count):
    return lambda: resuming.num_rows(workdir) >= count

  stopped = commands.run_until(start, env, has_rows(7), signal.SIGTERM)
  assert stopped.returncode == 0 and "after SIGTERM" in stopped.log
  killed = commands.run_until(start, env, has_rows(14), signal.SIGKILL)
  assert killed.returncode == -signal.SIGKILL
  assert checkpoints.latest(str(workdir))[0] >= 7
  last = commands.run(start, env)
  assert last.returncode == 0, last.stdout + last.stderr
  assert "resumed at step" in last.stdout
  np.testing.assert_equal(read_state(workdir), read_state(whole))
  name = writers.METRICS_FILE
  assert (workdir / name).read_bytes() == (whole / name).read_bytes()
  assert (workdir / "checkpoints" / "10").is_dir()  # The best, before a kill.


def test_a_run_of_the_same_task_goes_on_with_its_head(setting):
  root, corpus, env, whole, _ = setting
  workdir = root / "gone_on"
  options = (f"model.init_from={whole}", "optim.num_steps=3")
  done = commands.run(command(workdir, corpus, *options), env)
  assert done.returncode == 0, done.stdout + done.stderr
  assert "new      nothing" in done.stdout
  losses, before = (
    [row["loss"] for row in writers.read_metrics(str(w)) if "loss" in row]
    for w in (workdir, whole)
  )
  # The learning rate was 0 at the end; its largest is that of the first run.
  assert losses[0] < np.mean([before[0], before[-1]])


def test_evaluate_finds_the_last_metric_again(setting):
  root, _, env, whole, _ = setting
  found = [tiny_task.make_record(n, n != 3) for n in range(7)]
  corpus = tiny_task.write_corpus(root / "first", found)
  output = root / "evaluated"
  done = commands.run(
    commands.tiny_command_of(
      *("evaluate", "--checkpoint", str(whole), "--data", corpus),
      *("--output", str(output)),
    ),
    env,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  last = writers.read_metrics(str(whole))[-1]
  results = json.loads((output / "results.json").read_text())
  assert results["step"] == NUM_STEPS
  assert results["results"]["alpha"]["images"] == 6
  np.testing.assert_allclose(
    results["results"]["alpha"]["mae"], last["eval_mae"], rtol=1e-5
  )
  assert "alpha of " in done.stdout and "mae" in done.stdout


def test_a_corpus_without_labels_ends_with_code_2(setting):
  root, _, env, _, _ = setting
  images = commands.write_images(root / "images")
  done = commands.run(command(root / "unlabelled", images), env)
  assert done.returncode == 2
  assert "task.name=alpha needs labels (alpha)" in done.stderr
  assert "Traceback" not in done.stderr
