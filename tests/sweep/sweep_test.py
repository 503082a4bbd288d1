"""`sapiens2 sweep` as a user runs it, with the real trainer."""

import csv
import os
import shutil
import signal
import sys

import pytest

from tests import forking, tiny
from tests.end_to_end import commands
from tests.launch import fakes
from tests.sweep import workdirs

SMALL = [
  f"--config.{option}"
  for option in (
    *(*tiny.SIZE, "model.size=tiny"),
    *("model.scan=false", "checkpoint.every=100"),
  )
]
# Brings the smallest model into each trainer that a sweep starts.
EXPERIMENT = f"""
import runpy
import tests.tiny

get_config = runpy.run_path({str(fakes.ROOT / "experiments/pretrain.py")!r})[
  "get_config"
]
"""


def sweep_command(config, output, *words: str) -> list[str]:
  return [
    *(sys.executable, "-m", "sapiens2_jax.sweep", "--config", str(config)),
    *("--output", str(output), "--num_devices", "1", *words),
  ]


def read_csv(output) -> list[dict[str, str]]:
  return list(csv.DictReader((output / "sweep.csv").open()))


@pytest.mark.slow
def test_points_run_stop_continue_and_fail_on_their_own(tmp_path):
  data = commands.write_images(tmp_path / "images")
  env = commands.environment()
  # Seeds share their compiled programs; no image is below one pixel.
  experiment = tmp_path / "experiment.py"
  experiment.write_text(EXPERIMENT)
  config = workdirs.write_sweep(
    tmp_path,
    '[{"seed": 1}, {"data.max_pixels": 1}, {"seed": 2}]',
    str(experiment),
  )
  output = tmp_path / "runs"
  command = sweep_command(
    config,
    output,
    *SMALL,
    f"--config.data.path={data}",
    "--config.optim.num_steps=12",
  )
  workdir = output / "seed=1"

  def num_rows() -> int:
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0

  stopped = commands.run_until(
    command, env, lambda: num_rows() >= 3, signal.SIGINT
  )
  assert stopped.returncode == 0, stopped.log
  assert "seed=1: stopped" in stopped.log
  assert "after SIGTERM" in (workdir / "train.log").read_text()
  rows = read_csv(output)
  assert [row["state"] for row in rows] == ["stopped", "waiting", "waiting"]
  assert 3 <= int(rows[0]["steps"]) < 12

  done = commands.run(command, env)
  assert done.returncode == 1, done.stdout + done.stderr
  assert "resumed at step" in (workdir / "train.log").read_text()
  rows = read_csv(output)
  assert [row["state"] for row in rows] == ["done", "failed", "done"]
  assert [row["steps"] for row in (rows[0], rows[2])] == ["12", "12"]
  assert float(rows[0]["final_loss"]) != float(rows[2]["final_loss"])
  assert f"log: {output / 'max_pixels=1' / 'train.log'}" in done.stdout
  assert "failed: max_pixels=1: " in done.stdout
  assert (output / "sweep.png").read_bytes().startswith(b"\x89PNG")

  before = (workdir / "train.log").stat().st_mtime_ns
  collected = commands.run([*command, "--collect"], env)
  assert collected.returncode == 0, collected.stderr
  assert (workdir / "train.log").stat().st_mtime_ns == before
  assert collected.stdout.splitlines()[1].split()[:3] == [
    *("seed=1", "done", "12/12")
  ]


@pytest.fixture
def cluster(tmp_path):
  cluster = fakes.Cluster(tmp_path / "fakes")
  cluster.home = fakes.ROOT
  return cluster


@pytest.mark.slow
@pytest.mark.parametrize(
  ("via", "program"), [("gke", "xpk"), ("slurm", "sbatch")]
)
def test_each_point_becomes_a_job(cluster, tmp_path, via, program):
  config = workdirs.write_sweep(tmp_path, '[{"seed": 1}, {"seed": 2}]')
  # The sweep names the jobs.
  flags = fakes.FLAGS[via]
  if via == "gke":
    mount = f"--mount=runs:{tmp_path}"
    flags = [*flags[:2], *flags[4:], mount]
  data = commands.write_images(tmp_path / "images")
  given = ("--via", via, f"--config.data.path={data}", "--", *flags)
  command = sweep_command(config, tmp_path / "lr", *given)
  env = {"PATH": f"{cluster.folder}:{os.environ['PATH']}"}
  done = cluster.run(*command, **env)
  assert done.returncode == 0, done.stderr
  assert len(cluster.calls(program)) == 2
  started = cluster.started()
  assert len(cluster.calls("python")) == 4  # Each launcher looks, too.
  for seed, name, call, train in zip(
    (1, 2), ("lr-000", "lr-001"), cluster.calls(program), started
  ):
    flag = {"gke": "--workload", "slurm": "--job-name"}[via]
    assert f"{flag}={name}" in call
    assert train == [
      *("python", "-m", "sapiens2_jax.train", "--config", fakes.SPEC),
      *("--workdir", str(tmp_path / "lr" / f"seed={seed}")),
      *(f"--config.data.path={data}", f"--config.seed={seed}"),
    ]
  if via == "slurm":
    shutil.rmtree(data)
    cluster.forget()
    done = cluster.run(*command, **env)
    assert done.returncode == 2
    # Once, though both points have it.
    assert done.stderr.count(f"data.path={data}: ") == 1
    assert not cluster.calls()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--num_devices", "-1"], "num_devices"),
    (["--", "--nodes"], "flags after -- need --via"),
    (["--config.sed=1"], "did you mean seed?"),
    (["--output", "s3://b/x", "--collect"], "expected a folder, or gs://"),
  ],
)
def test_a_mistake_is_told_before_anything_starts(tmp_path, words, message):
  config = workdirs.write_sweep(tmp_path, '[{"seed": 1}, {"seed": 2}]')
  output = tmp_path / "runs"
  command = [
    *(sys.executable, "-m", "sapiens2_jax.sweep", "--config", str(config)),
    *("--output", str(output), "--num_devices=1", *words),
  ]
  done = forking.run(command, os.environ)
  assert done.returncode == 2
  assert message in done.stderr
  assert "Traceback" not in done.stderr
  assert not output.exists()
