"""Configs of tasks, as `experiments/tasks` has them."""

import importlib.util
import pathlib

from ml_collections import ConfigDict

SIZES = ("toy", "0.1b", "0.4b", "0.8b", "1b", "5b")
EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments" / "tasks"


def get_task(task: str, size: str) -> dict:
  """The groups that experiments/tasks/TASK.py gives a size."""
  path = EXPERIMENTS / f"{task}.py"
  spec = importlib.util.spec_from_file_location(f"{task}_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_task(size)


def load_task_config(task: str, size: str, image_size=None) -> ConfigDict:
  if image_size is None:
    image_size = (128, 96) if size == "toy" else (1024, 768)
  data = {"data": {"image_size": image_size}}
  return ConfigDict(get_task(task, size) | data)
