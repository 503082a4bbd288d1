"""The human tasks, one module each: head, targets, loss, metric, drawing."""

import importlib
import pkgutil
from types import ModuleType

from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.fields import Schema
from sapiens2_jax.tasks.base import Metric, ModelInput, Task, UnusableExample

__all__ = ["Metric", "ModelInput", "Task", "UnusableExample", "make_task"]


def task_names() -> tuple[str, ...]:
  """Folders of this package, and modules that tests add to its path."""
  found = pkgutil.iter_modules(__path__)
  here = __path__[0]
  return tuple(
    sorted(
      module.name
      for module in found
      if module.ispkg or module.module_finder.path != here
    )
  )


def _module(name: str) -> ModuleType:
  module = importlib.import_module(f"{__name__}.{name}")
  if hasattr(module, "__path__"):
    return importlib.import_module(f"{__name__}.{name}.task")
  return module


def config_fields(name: str) -> Schema:
  """Fields of the config that only this task has; none if it is unknown."""
  if name not in task_names():
    return {}
  return vars(_module(name)).get("FIELDS", {})


def make_task(config: ConfigDict) -> Task:
  """The task that `config.task.name` names.

  Raises:
    ValueError: no such task; lists those that there are.
  """
  names = dict.fromkeys(task_names())
  errors.lookup(names, config.task.name, "task.name")
  return _module(config.task.name).make_task(config)
