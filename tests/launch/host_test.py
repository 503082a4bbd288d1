"""How a run's end is told to whoever started it."""

import os
import signal
import subprocess
import time

import pytest

from tests.launch import fakes

# Says that it is ready, then ends with $1 after SIGTERM.
WAITING = (
  'trap "exit $1" TERM; echo ready; while :; do sleep 0.05; done',
  "waiting",
)


def host(*words: str) -> list[str]:
  return ["bash", str(fakes.ROOT / "launch" / "host.sh"), *words]


def ends_with(code: int) -> list[str]:
  return ["bash", "-c", f"echo once; exit {code}"]


@pytest.mark.parametrize("code", [0, 1, 2, 137])
def test_exit_codes_are_those_of_the_command(code):
  done = subprocess.run(host(*ends_with(code)))
  assert done.returncode == code


@pytest.mark.parametrize(
  ("code", "starts"), [(0, 1), (1, 3), (2, 1), (3, 1), (137, 3)]
)
def test_only_failures_other_than_2_and_3_are_restarted(code, starts):
  words = ["--max_restarts", "2", "--pause", "0", *ends_with(code)]
  done = subprocess.run(host(*words), capture_output=True, text=True)
  assert done.returncode == code
  assert done.stdout.count("once\n") == starts
  assert done.stdout.count("host: ended with") == starts - 1


@pytest.mark.parametrize(
  ("code", "noted"), [(0, ""), (1, ""), (2, "2\n"), (3, "3\n")]
)
def test_what_must_not_be_restarted_is_noted(tmp_path, code, noted):
  file = tmp_path / "mistake"
  subprocess.run(host("--mistake_file", str(file), *ends_with(code)))
  assert (file.read_text() if file.exists() else "") == noted


@pytest.mark.parametrize("flag", ["--max_restarts", "--pause"])
def test_a_number_is_not_run_as_shell(tmp_path, flag):
  words = [flag, f"a[$(touch {tmp_path}/ran)]", *ends_with(1)]
  done = subprocess.run(host(*words), capture_output=True, text=True)
  assert done.returncode == 2 and "expected a whole number" in done.stderr
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("code", "told"), [(0, 143), (1, 1), (2, 2)])
def test_a_signal_reaches_the_command_and_a_0_becomes_143(sent, code, told):
  process = subprocess.Popen(
    host("--max_restarts", "5", "bash", "-c", *WAITING, str(code)),
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  process.send_signal(sent)
  assert process.wait(timeout=10) == told
  assert process.stdout.read() == ""


def test_a_signal_between_two_starts_ends_it():
  process = subprocess.Popen(
    host("--max_restarts", "5", "--pause", "60", *ends_with(1)),
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "once\n"
  assert process.stdout.readline().startswith("host: ended with 1")
  time.sleep(0.1)
  process.terminate()
  assert process.wait(timeout=10) == 143


def test_it_runs_in_the_repository(tmp_path):
  done = subprocess.run(
    host("pwd"), cwd=tmp_path, capture_output=True, text=True
  )
  assert done.stdout.strip() == os.path.realpath(fakes.ROOT)


def batch_job(cluster, max_restarts: int = 100, **env: str):
  job = str(fakes.ROOT / "launch" / "slurm_job.sh")
  env = {"SLURM_JOB_ID": "7", **env}
  return cluster.run("bash", job, str(max_restarts), "python", "x", **env)


@pytest.fixture
def cluster(tmp_path):
  cluster = fakes.Cluster(tmp_path / "fakes")
  # What SLURM's --chdir does.
  cluster.home = cluster.home / "sapiens2_jax"
  return cluster


@pytest.mark.parametrize(
  ("code", "again"),
  [("0", False), ("1", True), ("2", False), ("3", False), ("143", True)],
)
def test_slurm_queues_a_job_again_unless_done_or_mistaken(cluster, code, again):
  done = batch_job(cluster, TRAIN_EXIT=code)
  assert cluster.calls("python") == [["python", "x"]]
  assert cluster.calls("scontrol") == [["scontrol", "requeue", "7"]] * again
  if not again:
    assert done.returncode == int(code)


def test_slurm_sees_a_mistake_that_a_higher_exit_code_hides(cluster):
  # srun reports the highest code of all processes.
  done = batch_job(cluster, TRAIN_EXIT="2", SRUN_EXIT="143")
  assert done.returncode == 2
  assert not cluster.calls("scontrol")
  assert not list(cluster.home.glob(".config_mistake*"))


def test_slurm_stops_after_so_many_restarts(cluster):
  done = batch_job(
    cluster, max_restarts=3, TRAIN_EXIT="1", SLURM_RESTART_COUNT="3"
  )
  assert done.returncode == 1
  assert "after 3 restarts" in done.stdout
  assert not cluster.calls("scontrol")


def test_a_cancelled_slurm_job_is_not_queued_again(cluster):
  (cluster.folder / "srun").write_text(
    "#!/usr/bin/env bash\necho ready; sleep 0.5; exit 143\n"
  )
  job = str(fakes.ROOT / "launch" / "slurm_job.sh")
  process = subprocess.Popen(
    ["bash", job, "100", "python", "x"],
    cwd=cluster.home,
    env={**cluster.env, "SLURM_JOB_ID": "7"},
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  process.terminate()
  assert process.wait(timeout=10) == 143
  assert not cluster.calls("scontrol")
