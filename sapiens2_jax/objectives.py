"""Which objective a config describes."""

from ml_collections import ConfigDict

from sapiens2_jax.pretrain import objective as pretrain
from sapiens2_jax.tasks import objective as tasks
from sapiens2_jax.training.objective import Objective


def objective_class(config: ConfigDict) -> type[Objective]:
  """What an experiment trains; nothing is built or opened."""
  if pretrain.matches(config):
    return pretrain.PretrainObjective
  return tasks.TaskObjective


def build_objective(config: ConfigDict) -> Objective:
  """The objective of an experiment.

  Raises:
    ValueError: if a named choice is unknown.
  """
  if pretrain.matches(config):
    return pretrain.build_pretrain(config)
  return tasks.build_task(config)
