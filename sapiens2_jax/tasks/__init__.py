"""The human tasks, one module each: head, targets, loss, metric, drawing."""

import importlib
import pkgutil

from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.tasks.base import Metric, ModelInput, Task, UnusableExample

__all__ = ["Metric", "ModelInput", "Task", "UnusableExample", "make_task"]


def task_names() -> tuple[str, ...]:
  """Modules of this package that define a task."""
  found = pkgutil.iter_modules(__path__)
  return tuple(
    sorted(module.name for module in found if module.name not in _SHARED)
  )


_SHARED = ("base", "examples", "maps")


def make_task(config: ConfigDict) -> Task:
  """The task that `config.task.name` names.

  Raises:
    ValueError: no such task; lists those that there are.
  """
  names = {name: name for name in task_names()}
  name = errors.lookup(names, config.task.name, "task.name")
  module = importlib.import_module(f"{__name__}.{name}")
  return module.make_task(config)
