r"""Shows the examples of one step, as the model sees them.

    sapiens2 corpus preview --config pretrain:size=toy \
      --config.data.path=corpus/ --output page.html

The crops come from the run's own loader; flips, augmentation and masks from
the functions and keys of its training step. Boxes are (top, left, height,
width) in pixels of the original.
"""

import os

from absl import flags

from data_pipelines import sources
from data_pipelines.common.files import write_file
from data_pipelines.loading.loader import NoUsableImage
from sapiens2_jax import checking, command
from sapiens2_jax.preview.data import read_examples
from sapiens2_jax.preview.page import make_page

_CONFIG = command.define_config()
_OUTPUT = flags.DEFINE_string("output", None, "HTML file to write.")
_STEP = flags.DEFINE_integer("step", 0, "Of training.", lower_bound=0)
_EXAMPLES = flags.DEFINE_integer(
  "examples", 4, "The first so many of the step's batch.", lower_bound=1
)


def check_output(path: str) -> None:
  """Raises ValueError if no file can be made there."""
  folder = os.path.dirname(path) or "."
  if not os.path.isdir(folder):
    raise ValueError(f"output={path}: no such directory: {folder}")
  if os.path.isdir(path):
    raise ValueError(f"output={path}: is a directory; name an HTML file.")
  if os.path.splitext(path)[1].lower() in (".png", ".jpg", ".jpeg"):
    raise ValueError(f"output={path}: is a page, no picture; name it .html.")


def main(overrides: list[str]) -> int:
  config = checking.load_config(_CONFIG.value, overrides)
  output = _OUTPUT.value
  check_output(output)
  try:
    examples = read_examples(config, _STEP.value, _EXAMPLES.value)
  except (NoUsableImage, sources.ShardReadError) as error:
    command.fail(str(error), code=1)
  page = make_page(examples, _STEP.value, config.seed)
  write_file(output, page.encode())
  print(f"{output}: {len(examples)} examples of step {_STEP.value}")
  return 0


def run() -> None:
  command.run_with_config(main, "config", "output")


if __name__ == "__main__":
  run()
