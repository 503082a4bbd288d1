"""A wheel, outside of the clone: its files, its command, its experiments."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("sapiens2_jax", "data_pipelines", "experiments")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
  """The unpacked wheel of a copy of this clone."""
  copy = tmp_path_factory.mktemp("copy")
  for name in ("setup.py", "pyproject.toml", "LICENSE"):
    shutil.copy(ROOT / name, copy)
  for name in SOURCES:
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / name, copy / name, ignore=leave)
  command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
  command += ["--no-build-isolation", "--wheel-dir", "built", "."]
  subprocess.run(command, cwd=copy, check=True)
  (built,) = (copy / "built").glob("*.whl")
  place = tmp_path_factory.mktemp("wheel")
  with zipfile.ZipFile(built) as opened:
    opened.extractall(place)
  return place


def run(wheel, cwd, *words: str) -> str:
  code = "import sys; from sapiens2_jax.__main__ import main; main()"
  done = subprocess.run(
    [sys.executable, "-c", code, *words],
    cwd=cwd,
    env={**os.environ, "PYTHONPATH": str(wheel)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
  for name in SOURCES:
    inside = "sapiens2_jax/experiments" if name == "experiments" else name
    for path in (ROOT / name).rglob("*"):
      if path.is_file() and "__pycache__" not in path.parts:
        assert (wheel / inside / path.relative_to(ROOT / name)).is_file(), path


def test_the_wheel_names_the_command(wheel):
  (found,) = wheel.glob("*.dist-info/entry_points.txt")
  assert "sapiens2 = sapiens2_jax.__main__:main" in found.read_text()


def test_experiments_are_found_by_name_outside_of_the_clone(wheel, tmp_path):
  assert "quickstart" in run(wheel, tmp_path, "--help")
  # This one loads another one.
  shown = run(wheel, tmp_path, "config", "show", "high_resolution:size=toy_4k")
  assert '"init_from": "runs/quickstart"' in shown
  told = run(
    *(wheel, tmp_path, "experiment", "--config", "toy_tasks"),
    *("--output", "runs", "--dry_run"),
  )
  assert "--config finetune:task=normal,size=toy" in told
