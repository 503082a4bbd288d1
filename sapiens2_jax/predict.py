r"""Runs a task model on images: numbers and pictures.

    sapiens2 predict --checkpoint runs/normal --images photographs/ \
      --output predictions/

DIR gets a picture of each image in predictions/, the numbers in a folder of
their kind, and index.html. An image that cannot be read is left out; if none
can, the exit code is 1. Tasks have options of their own.
"""

import os
import sys

import jax
from absl import flags, logging

from data_pipelines.common import locks
from data_pipelines.common.files import write_file
from sapiens2_jax import command
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.interop.weights import find_weights
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.prediction import inputs, options
from sapiens2_jax.prediction.gallery import describe_measured, write_gallery
from sapiens2_jax.prediction.people import People
from sapiens2_jax.prediction.run import Predictions, predict_images
from sapiens2_jax.tasks import Task, registry
from sapiens2_jax.tasks.objective import TaskObjective
from sapiens2_jax.training.step import Spread, jit_spread

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_IMAGES = flags.DEFINE_string(
  "images", None, "Folder, list (.txt, a path a line) or image."
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.")
_TASK = flags.DEFINE_string(
  "task", None, "What the checkpoint has to be for; default: what it is for."
)
_ROPE_DTYPE = command.define_rope_dtype(TABLES)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 4, "Inputs of a device at once.", lower_bound=1
)


def define_options() -> None:
  """Makes flags of the options of all tasks.

  Raises:
    ValueError: one has the name of another flag.
  """
  for name, (field, tasks) in options.all_options().items():
    is_bool = isinstance(field.default, bool)
    define = flags.DEFINE_boolean if is_bool else flags.DEFINE_string
    text = f"{field.text} (Of {', '.join(tasks)}; default: {field.default!r}.)"
    try:
      define(name, None, text)
    except flags.DuplicateFlagError as error:
      raise ValueError(
        f"task {tasks[0]}: its option {name!r} has the name of a flag."
      ) from error


def given_options() -> dict[str, str | bool]:
  """What the user set of them."""
  given = {name: flags.FLAGS[name].value for name in options.all_options()}
  return {name: value for name, value in given.items() if value is not None}


def load_parts(path: str) -> tuple[Task, Spread]:
  """A model of body parts.

  Raises:
    ValueError: it is of another task.
  """
  model, params = load_task(path)
  if model.task.name != "segmentation":
    raise ValueError(
      f"--foreground={path}: is a model of task {model.task.name}, expected "
      "segmentation."
    )
  return model.task, jit_spread(model.predict, params, _BATCH_SIZE.value)


def make_facts(
  description: str, model: TaskObjective, chosen: dict
) -> list[tuple[str, str]]:
  """What the page says of the model; `description` is of its weights."""
  height, width = model.config.data.image_size
  arch, devices = model.encoder.architecture, jax.local_devices()
  kind = f"{len(devices)} x {devices[0].device_kind}"
  task = registry.definition(model.task.name)
  defaults = options.output_class(task).options
  return [
    ("checkpoint", description),
    ("task", model.task.name),
    ("size", f"{arch.name}: {arch.num_layers} layers, width {arch.embed_dim}"),
    ("network's input", f"{height} x {width} pixels"),
    ("computed in", f"{model.config.model.dtype} on {kind}"),
    ("RoPE", model.config.model.rope_dtype),
    *(
      (f"--{name}", f"{value}")
      for name, value in chosen.items()
      if value != defaults[name].default
    ),
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
  output = _OUTPUT.value
  source = inputs.open_images(_IMAGES.value, output)
  weights = find_weights(_CHECKPOINT.value)
  model, params = load_task(weights, rope_dtype=_ROPE_DTYPE.value)
  task = registry.definition(model.task.name)
  if _TASK.value not in (None, task.name):
    raise ValueError(
      f"task={_TASK.value}: the checkpoint is a model of task {task.name}."
    )
  chosen = options.read_options(task, given_options())
  names = [source.name(number) for number in range(len(source))]
  people = People(chosen, names, "people" in model.task.needs)
  parts = chosen.get("foreground")
  writer = options.output_class(task)(model.task, chosen)
  with locks.held(output) as lock:
    lock.check()
    found = predict_images(
      jit_spread(model.predict, params, _BATCH_SIZE.value),
      source,
      people,
      writer,
      output,
      load_parts(parts) if parts else None,
    )
    facts = make_facts(weights.description, model, chosen) + writer.facts()
    if people.summary():
      print(f"people     {people.summary()}")
      facts.append(("people", people.summary()))
    measured = ""
    if weights.step is not None:  # It is of a run.
      measured = describe_measured(weights.path, weights.step, task.name)
    page = write_gallery(model.task, facts, found, measured)
    path = os.path.join(output, "index.html")
    write_file(path, page.encode())
  announce(found, path)
  return 0 if found.done else 1


def run() -> None:
  try:
    define_options()
  except ValueError as error:
    command.fail(str(error))
  command.run(main, "checkpoint", "images", "output")


if __name__ == "__main__":
  run()
