"""Which objective a config describes."""

from ml_collections import ConfigDict

from sapiens2_jax.pretrain.objective import PretrainObjective, build_pretrain
from sapiens2_jax.tasks.objective import TaskObjective, build_task


def build_objective(config: ConfigDict) -> PretrainObjective | TaskObjective:
  """Fine-tuning on a task if the config has a group `task`, else pretraining.

  Raises:
    ValueError: if a named choice is unknown.
  """
  return build_task(config) if "task" in config else build_pretrain(config)
