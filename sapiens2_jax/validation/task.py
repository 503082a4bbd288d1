"""Checks of what only fine-tuning on a task has: the task, its evaluation."""

from ml_collections import ConfigDict

from sapiens2_jax import tasks
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.tasks.base import ProbedTask
from sapiens2_jax.validation.bounds import Bounds, Problems, check_image_size

_BOUNDS = Bounds(minimum={"evaluation.every": 0, "evaluation.num_images": 0})


def _check_task(config: ConfigDict) -> Problems:
  """The task's own complaints, and those of its head."""
  given = f"task.name={config.task.name}"
  try:
    task = tasks.make_task(config)
    task.head()
  except ValueError as error:
    return [(given, str(error))]
  if config.data.augment or isinstance(task, ProbedTask):
    return []
  return [(given, "has no targets without augmentation; set data.augment=true")]


def _check_size(config: ConfigDict) -> Problems:
  arch = ARCHITECTURES.get(config.model.size)
  if arch is None:
    return []
  return check_image_size(config, "image_size", arch.patch_size)


def _check_evaluation(config: ConfigDict) -> Problems:
  every = config.evaluation.every
  if not every or config.evaluation.path:
    return []
  return [(f"evaluation.every={every}", "needs evaluation.path, a corpus")]


def validate(config: ConfigDict) -> Problems:
  """Finds what is wrong with the fields that only fine-tuning has."""
  return (
    _BOUNDS.check(config)
    + _check_size(config)
    + _check_task(config)
    + _check_evaluation(config)
  )
