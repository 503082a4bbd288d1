r"""Runs a task model on images.

    python -m sapiens2_jax.predict --checkpoint WORKDIR_OR_WEIGHTS \
      --images FOLDER_OR_LIST_OR_IMAGE --output DIR

`--checkpoint` is what `load_task` reads: a fine-tuning workdir (its newest
checkpoint), an export, an import or a released file. DIR gets a picture of each
image in predictions/, the numbers in a folder of their kind, and index.html.
An image that cannot be read is left out; if none can, the exit code is 1.
"""

import os
import sys

import jax
from absl import flags, logging

from data_pipelines.common.files import write_file
from sapiens2_jax import command
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.interop.weights import find_weights
from sapiens2_jax.prediction.gallery import write_gallery
from sapiens2_jax.prediction.inputs import check_task, open_images, read_boxes
from sapiens2_jax.prediction.run import Predictions, predict_folder
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.objective import TaskObjective

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_IMAGES = flags.DEFINE_string(
  "images", None, "Folder, list (.txt, a path a line) or image."
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.")
_TASK = flags.DEFINE_string(
  "task", None, "What the checkpoint has to be for; default: what it is for."
)
_BOXES = flags.DEFINE_string(
  "boxes", None, "JSON like COCO's with people's boxes."
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 4, "Inputs of the network at once.", lower_bound=1
)


def make_facts(model: TaskObjective) -> list[tuple[str, str]]:
  """What the page says of the model."""
  height, width = model.config.data.image_size
  arch, device = model.encoder.architecture, jax.devices()[0].device_kind
  return [
    ("checkpoint", find_weights(_CHECKPOINT.value).description),
    ("task", model.task.name),
    ("size", f"{arch.name}: {arch.num_layers} layers, width {arch.embed_dim}"),
    ("network's input", f"{height} x {width} pixels"),
    ("computed in", f"{model.config.model.dtype} on {device}"),
  ]


def announce(found: Predictions, path: str) -> None:
  """Prints what became of the images."""
  for name, reason in found.skipped:
    print(f"left out   {name}: {reason}", file=sys.stderr)
  print(f"predicted  {len(found.done)} images")
  print(f"gallery    {path}", flush=True)


def main() -> int:
  # Orbax warns of a file that this kind of checkpoint never has.
  logging.set_verbosity(logging.ERROR)
  output = os.path.expanduser(_OUTPUT.value)
  source = open_images(os.path.expanduser(_IMAGES.value), output)
  model, params = load_task(_CHECKPOINT.value)
  check_task(model.task, _TASK.value, _BOXES.value)
  people = {}
  if _BOXES.value is not None:
    names = {source.name(number) for number in range(len(source))}
    people = read_boxes(_BOXES.value, names)
  found = predict_folder(
    model, params, source, people, output, _BATCH_SIZE.value
  )
  task = registry.definition(model.task.name)
  page = write_gallery(task, make_facts(model), found)
  path = os.path.join(output, "index.html")
  write_file(path, page.encode())
  announce(found, path)
  return 0 if found.done else 1


if __name__ == "__main__":
  command.run(main, "checkpoint", "images", "output")
