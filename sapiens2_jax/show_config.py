r"""Prints the config of an experiment, a run or a checkpoint.

    sapiens2 config show pretrain:size=0.4b --config.optim.peak_lr=3e-4

With --help=config every field stands with its sentence, where its default is
from (paper, reference, DINOv3, ours), and that default if it is another.
"""

from sapiens2_jax import command
from sapiens2_jax import config as config_lib
from sapiens2_jax.validation import showing


def main(overrides: list[str], spec: str) -> None:
  print(config_lib.to_json(showing.read(spec, overrides)), end="")


def run() -> None:
  command.run_with_config(main, takes=1)


if __name__ == "__main__":
  run()
