"""The commands that start each point of a sweep as a job of its own."""

import os
import pathlib
import re

from sapiens2_jax.sweep.points import Point

# Launcher -> its flag for the name of a job.
NAME_FLAGS = {"tpu_vm": "--name", "gke": "--workload", "slurm": "--job_name"}
_LONGEST_NAME = 30
_LAUNCH_FOLDER = pathlib.Path(__file__).parents[2] / "launch"


def job_name(output: str, number: int) -> str:
  """A name that Google Cloud and Kubernetes take, e.g. lr-007."""
  folder = os.path.basename(output.rstrip("/")).lower()
  words = re.sub(r"[^a-z0-9]+", "-", folder)[:_LONGEST_NAME].strip("-")
  if not words or not words[0].isalpha():
    words = f"sweep-{words}".strip("-")
  return f"{words}-{number:03}"


def job_command(
  via: str, name: str, point: Point, launcher_flags: list[str]
) -> list[str]:
  """The command that starts one point."""
  script = os.path.relpath(_LAUNCH_FOLDER / f"{via}.sh")
  return [
    *("bash", script, NAME_FLAGS[via], name),
    *launcher_flags,
    *point.train_flags(),
  ]
