r"""Fine-tunes an encoder on a task: `train` with its config.

    sapiens2 finetune --config finetune:task=normal,size=toy \
      --workdir runs/normal --config.data.path=people/ \
      --config.model.init_from=runs/quickstart

Tasks: albedo, matting, normal, pointmap, pose, segmentation. `init_from` takes
a run of pretraining, or released, imported or exported weights.
"""

from absl import flags

from sapiens2_jax import command, train


def main(overrides: list[str]) -> None:
  train.main(overrides)


def run() -> None:
  flags.FLAGS.set_default("config", "finetune")
  command.run_with_config(main, "workdir")


if __name__ == "__main__":
  run()
