"""Checks that span fields of a configuration; finds all mistakes at once."""

from ml_collections import ConfigDict

from sapiens2_jax.pretrain.objective import matches as is_pretraining
from sapiens2_jax.validation import common, pretrain, task
from sapiens2_jax.validation.bounds import Problems

__all__ = ["Problems", "validate"]


def validate(config: ConfigDict, num_devices: int) -> Problems:
  """Finds what is wrong with a configuration.

  Args:
    config: resolved values, of pretraining or of a task.
    num_devices: of the whole job.

  Returns:
    (what was given, what is wrong and what would be right) pairs.
  """
  checks = pretrain if is_pretraining(config) else task
  found = checks.validate(config) + common.validate(config, num_devices)
  return list(dict.fromkeys(found))
