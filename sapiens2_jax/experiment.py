r"""Runs an experiment of several commands, up to its table.

    sapiens2 experiment --config toy_tasks --output runs/toy_tasks --dry_run

They are replication, toy_tasks, parts and distillation: an hour or two on two
CPU cores each; little_data, new_domain and curriculum: less; real_faces, on the
output of replication: a quarter of an hour. The same command continues what was
stopped.
"""

import os
import shlex

from absl import flags

from data_pipelines.common import storage
from sapiens2_jax import command
from sapiens2_jax import config as config_lib
from sapiens2_jax.sweep import phases as phases_lib

_CONFIG = flags.DEFINE_string("config", None, "Its NAME, or a FILE.py")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for all of it")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands only")


def main() -> None:
  output = _OUTPUT.value
  if storage.is_remote(output):
    raise ValueError(f"--output={output}: expected a folder on a disk.")
  path = config_lib.find_experiment(_CONFIG.value)
  module = config_lib.load_module(path)
  for name in ("make_phases", "summarize"):
    if not hasattr(module, name):
      raise ValueError(
        f"--config={_CONFIG.value}: has no {name}(); `sapiens2 train` or "
        "`sapiens2 sweep` may be meant."
      )
  output = os.path.abspath(output)
  if _DRY_RUN.value:
    for phase in module.make_phases(output):
      print(shlex.join(("python", *phase.arguments)))
    return
  phases_lib.run_experiment(path, module.make_phases, module.summarize, output)


def run() -> None:
  command.run(main, "config", "output")


if __name__ == "__main__":
  run()
