r"""Fine-tunes an encoder on a task: `train` with its config.

    sapiens2 finetune --config finetune:task=normal,size=toy \
      --workdir runs/normal --config.data.path=people/ \
      --config.model.init_from=runs/quickstart

Tasks: albedo, matting, normal, pointmap, pose, segmentation. `init_from` takes
a run of pretraining, or released, imported or exported weights.
"""

import contextlib

from absl import flags

from sapiens2_jax import command, train, validation
from sapiens2_jax import config as config_lib


def main(overrides: list[str]) -> None:
  spec = flags.FLAGS["config"].value
  # `train` tells other mistakes, all at once.
  with contextlib.suppress(config_lib.ConfigError):
    config = config_lib.load_config(spec, overrides, lambda config: [])
    if validation.kind_of(config) == "pretrain":
      raise ValueError(f"config={spec}: has no task; sapiens2 train pretrains")
  train.main(overrides)


def run() -> None:
  flags.FLAGS.set_default("config", "finetune")
  command.run_with_config(main, "workdir")


if __name__ == "__main__":
  run()
