"""Which objective a config describes."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from sapiens2_jax import fields
from sapiens2_jax.pretrain import objective as pretrain
from sapiens2_jax.tasks import objective as tasks
from sapiens2_jax.tasks import registry
from sapiens2_jax.training.objective import Objective, Stage


def objective_class(config: ConfigDict) -> type[Objective]:
  """What an experiment trains; nothing is built or opened."""
  if pretrain.matches(config):
    return pretrain.PretrainObjective
  return tasks.TaskObjective


def task_name(config: ConfigDict) -> str | None:
  """The task that an experiment is for, None for pretraining."""
  return None if pretrain.matches(config) else config.task.name


def build_objective(config: ConfigDict) -> Objective:
  """The objective of an experiment.

  Raises:
    ValueError: if a named choice is unknown.
  """
  if pretrain.matches(config):
    return pretrain.build_pretrain(config)
  return tasks.build_task(config)


def stages_of(config: ConfigDict) -> Sequence[Stage]:
  """The stages of a run, in order; raises ValueError as `build_objective`."""
  return build_objective(config).stages()


def build_for_inference(config: ConfigDict) -> Objective:
  """The objective of a checkpoint, without what training alone needs.

  Raises:
    ValueError: if a named choice is unknown.
  """
  config = config.copy_and_resolve_references()
  # Other machines may not have it.
  config.model.update(attention_backend="auto", remat="none")
  if tasks.matches(config):
    task = registry.definition(config.task.name)
    for name in task.training_fields:
      fields.set_value(config, name, task.fields[name].default)
  return build_objective(config)
