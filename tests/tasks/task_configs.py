"""Configs of tasks, as `experiments/tasks` has them."""

import importlib.util
import pathlib

from ml_collections import ConfigDict

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments" / "tasks"


def load_task_config(task: str, size: str, image_size=None) -> ConfigDict:
  path = EXPERIMENTS / f"{task}.py"
  spec = importlib.util.spec_from_file_location(f"{task}_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if image_size is None:
    image_size = (128, 96) if size == "toy" else (1024, 768)
  data = {"data": {"image_size": image_size}}
  return ConfigDict(module.get_task(size) | data)
