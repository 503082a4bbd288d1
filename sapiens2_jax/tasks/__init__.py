"""Dense tasks, a folder each, behind a registry that packages add to."""

from sapiens2_jax.tasks.base import (
  Metric,
  ModelInput,
  Score,
  Task,
  TaskDefinition,
  UnusableExample,
)
from sapiens2_jax.tasks.registry import make_task, register_task, task_names

__all__ = [
  "Metric",
  "ModelInput",
  "Score",
  "Task",
  "TaskDefinition",
  "UnusableExample",
  "make_task",
  "register_task",
  "task_names",
]
