r"""Prints in which fields two configs differ.

    sapiens2 config diff pretrain:size=0.4b pretrain:size=1b

Each is an experiment, the workdir of a run or one of its checkpoints.
Overrides (--config.optim.peak_lr=3e-4) are of the second.
"""

from sapiens2_jax import command
from sapiens2_jax import config as config_lib
from sapiens2_jax.validation import showing


def main(overrides: list[str], old: str, new: str) -> None:
  configs = showing.read(old, []), showing.read(new, overrides)
  print("\n".join(config_lib.differences(*configs)) or "no differences")


def run() -> None:
  command.run_with_config(main, takes=2)


if __name__ == "__main__":
  run()
