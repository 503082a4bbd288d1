"""A run with good checkpoints goes on, whatever else of it is damaged."""

import pytest

from sapiens2_jax.training import checkpoints, writers
from tests.end_to_end import commands

pytestmark = pytest.mark.slow
NUM_STEPS = 30  # As in resume_test.py: compiled once.
OPTIONS = (f"optim.num_steps={NUM_STEPS}", "checkpoint.every=10")

# The second list of checksums finds no room.
FULL_DISK = """
import errno, os
from data_pipelines.common import checksums
write_list, calls = checksums.write, []
def full(path, listed):
  calls.append(path)
  if len(calls) == 2:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
  write_list(path, listed)
checksums.write = full
"""


def files(workdir) -> dict:
  paths = (p for p in workdir.rglob("*") if p.is_file())
  return {path: path.stat().st_mtime_ns for path in paths}


def test_a_full_disk_damage_and_other_fields_one_after_the_other(tmp_path):
  data, env = commands.write_images(tmp_path / "images"), commands.environment()
  workdir = tmp_path / "run"
  command = commands.tiny_command(workdir, data, *OPTIONS)

  # The disk is full when the second checkpoint is written.
  done = commands.run([*command[:2], FULL_DISK + command[2], *command[3:]], env)
  assert done.returncode == 1
  assert len(done.stderr.splitlines()) == 1, done.stderr
  (line,) = done.stderr.splitlines()
  assert line.startswith("a checkpoint could not be written to")
  assert "No space left on device" in line

  # Other fields: named, and nothing is changed.
  before = files(workdir)
  other = [*command, "--config.model.prototypes=48", "--config.optim.name=muon"]
  done = commands.run(other, env)
  assert done.returncode == 2
  assert "its checkpoint 10 was made with other fields" in done.stderr
  assert "optim.name: adamw -> muon" in done.stderr
  assert "--config.model.init_from=" in done.stderr
  assert len(done.stderr.splitlines()) < 20
  assert files(workdir) == before

  # Everything but the checkpoint is damaged, and an image is new.
  for name in ("metrics.jsonl", "speed.jsonl", "goodput.json", "config.json"):
    (workdir / name).write_bytes(b"\0" * 100 + b"\n")
  (workdir / "skipped.jsonl").write_bytes(b'{"step"\n')
  (data / "new.png").write_bytes((data / "0.png").read_bytes())
  done = commands.run(command, env)
  assert done.returncode == 0, done.stderr
  assert "resumed at step 10" in done.stdout
  assert "changed    data: 6 images (" in done.stdout
  for name in ("metrics", "speed", "skipped"):
    assert f"{workdir}/{name}.jsonl: damaged (1 line(s) are no" in done.stderr
  assert f"{workdir}/goodput.json: damaged" in done.stderr
  assert checkpoints.latest(str(workdir))[0] == NUM_STEPS
  rows = writers.read_metrics(str(workdir))
  assert [row["step"] for row in rows] == list(range(10, NUM_STEPS))
