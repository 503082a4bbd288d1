r"""Measures a task model on labelled images.

    sapiens2 evaluate --checkpoint runs/normal --data test/ --output scores/

Its numbers are those of its task; they are printed, and written to
DIR/results.json. Frozen features of an
encoder are measured by `sapiens2 probe`. Runs in any number of processes, which
are started together as those of a training are (--config.distributed...), and
give the same numbers within 1e-6.
"""

from absl import flags

from data_pipelines import sources
from data_pipelines.common.progress import Progress
from data_pipelines.open_source import open_field
from sapiens2_jax import command, validation
from sapiens2_jax.evaluation import probing
from sapiens2_jax.evaluation.features import hash_params
from sapiens2_jax.evaluation.results import measure
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.interop.weights import find_weights
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.runtime import distributed, gathering
from sapiens2_jax.tasks.evaluate import evaluate
from sapiens2_jax.tasks.examples import check_labels
from sapiens2_jax.training.data import check_shared
from sapiens2_jax.training.step import jit_spread

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_DATA = flags.DEFINE_string("data", None, "Labelled images.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory of results.json.")
_ROPE_DTYPE = command.define_rope_dtype(TABLES)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 8, "Inputs of a device at once", lower_bound=1
)


def measure_task() -> dict:
  """The metric of a task model.

  Raises:
    ValueError: it is none, or the images have no labels.
  """
  data, weights = _DATA.value, find_weights(_CHECKPOINT.value)
  source = open_field("--data", data)
  try:
    model, params = load_task(weights, rope_dtype=_ROPE_DTYPE.value)
  except ValueError as error:
    raise ValueError(
      f"{error}. Frozen features are measured by `sapiens2 probe`."
    ) from error
  check_labels(source, model.task, f"--data={data}")
  check_shared(source, f"--data={data}")
  if distributed.is_joined():
    given = f"--checkpoint={_CHECKPOINT.value}"
    gathering.check_same(hash_params(params), given, "weights")
  spread = jit_spread(model.predict, params, _BATCH_SIZE.value)
  part = spread.apply_fn.part
  with Progress(
    "evaluated", len(part.share(len(source))), "images"
  ) as progress:
    found = evaluate(
      model.task,
      spread.apply_fn,
      spread.params,
      sources.RetryingSource(source, **probing.READING),
      batch_size=spread.batch_size,
      part=part,
      max_pixels=model.config.data.max_pixels,
      on_progress=progress.reach,
    )
  name = model.task.name
  print(f"{name} of {weights.description}, on {data}")
  for key, value in found.items():
    print(f"  {key:<16} {value:.6g}")
  return {
    "checkpoint": weights.path,
    "step": weights.step,
    "data": data,
    "results": {name: found},
  }


def main(overrides: list[str]) -> None:
  for given in overrides:
    if not given.startswith("distributed."):
      raise ValueError(
        f"--config.{given}: evaluate has no config but its task's"
      )
  distributed.start(validation.distributed_config(overrides, "--data"))
  measure(_OUTPUT.value, measure_task)


def run() -> None:
  command.run_with_config(main, "checkpoint", "data", "output")


if __name__ == "__main__":
  run()
