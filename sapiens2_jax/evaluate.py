r"""Measures weights: frozen ones by probes, fine-tuned ones by their metric.

    python -m sapiens2_jax.evaluate --checkpoint WORKDIR_OR_WEIGHTS \
      --config experiments/probe.py:task=all --output DIR \
      --config.data.train=CORPUS --config.data.test=OTHER_CORPUS
    python -m sapiens2_jax.evaluate --checkpoint WORKDIR_OR_WEIGHTS \
      --data CORPUS --output DIR

The first trains a light decoder a task on features of a frozen backbone, which
are computed once. The second measures a task model as it is: the newest
checkpoint of a run of fine-tuning, or a released file, an export, an import.
Numbers are printed, and written to DIR/results.json.

Both run in any number of processes, which are started together as those of a
training are (--config.distributed...), and give the same numbers within 1e-6.
"""

import functools
import json
import math
import os

import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.common import locks
from data_pipelines.common.files import write_file
from data_pipelines.common.progress import Progress
from data_pipelines.open_source import open_field
from sapiens2_jax import command, validation
from sapiens2_jax import config as config_lib
from sapiens2_jax.evaluation import probing
from sapiens2_jax.evaluation.features import Backbone, hash_params
from sapiens2_jax.interop.load import load_pretrained, load_task
from sapiens2_jax.interop.weights import ENCODERS, find_weights
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.runtime import distributed, gathering
from sapiens2_jax.tasks.evaluate import evaluate
from sapiens2_jax.tasks.examples import check_labels
from sapiens2_jax.training.data import check_shared
from sapiens2_jax.training.step import jit_spread

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_CONFIG = flags.DEFINE_string("config", None, "Of probes: FILE.py:ARGUMENTS.")
_DATA = flags.DEFINE_string("data", None, "Labelled images, for a task model.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory of results.json.")
_WEIGHTS = flags.DEFINE_enum(
  "weights", "teacher", ENCODERS, "Which encoder of a training workdir."
)
_ROPE_DTYPE = command.define_rope_dtype(TABLES)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 8, "Inputs of a device at once, with --data.", lower_bound=1
)


def write_results(output: str, found: dict) -> str:
  """Writes DIR/results.json, whole or not at all; what is NaN is null."""

  def known(value):
    if isinstance(value, dict):
      return {name: known(item) for name, item in value.items()}
    is_nan = isinstance(value, float) and not math.isfinite(value)
    return None if is_nan else value

  path = os.path.join(output, "results.json")
  write_file(path, json.dumps(known(found), indent=2).encode())
  return path


def load_config(overrides: list[str]) -> ConfigDict:
  """The config of probes, checked; joins the other processes."""

  def check(config: ConfigDict) -> validation.Problems:
    problems = validation.validate(config, 1, "probe")
    if not any(given.startswith("distributed") for given, _ in problems):
      distributed.start(config.distributed)
    return problems

  return config_lib.load_config(_CONFIG.value, overrides, check)


def probe(config: ConfigDict) -> dict:
  """Dense probes and retrieval of a frozen backbone."""
  encoder, params = load_pretrained(
    _CHECKPOINT.value,
    weights=_WEIGHTS.value,
    rope_dtype=_ROPE_DTYPE.value,
    dtype=jnp.dtype(config.features.compute_dtype),
  )
  backbone = Backbone(encoder, params, hash_params(params))
  given = f"--checkpoint={_CHECKPOINT.value}"
  gathering.check_same(backbone.content_hash, given, "weights")
  size = backbone.encoder.architecture.name
  print(f"backbone   {_CHECKPOINT.value}, {size}", flush=True)
  directory = config.features.directory
  directory = directory or os.path.join(_OUTPUT.value, "features")
  results = probing.run(config, backbone, directory)
  print(probing.format_table(results))
  return {
    "checkpoint": _CHECKPOINT.value,
    "size": size,
    "weights": backbone.content_hash,
    "config": config.to_dict(),
    "results": results,
  }


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
      f"{error}. Probe frozen features with --config experiments/probe.py "
      "instead of --data."
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
  if (_CONFIG.value is None) == (_DATA.value is None):
    raise ValueError(
      "give --config (probes of frozen weights) or --data (a task model), "
      "one of them"
    )
  if _DATA.value is None:
    config = load_config(overrides)
    measure = functools.partial(probe, config)
  else:
    for given in overrides:
      if not given.startswith("distributed."):
        raise ValueError(f"--config.{given}: nothing to override with --data")
    distributed.start(validation.distributed_config(overrides, "--data"))
    measure = measure_task
  if distributed.is_writer():
    with locks.held(_OUTPUT.value) as lock:
      found = measure()
      lock.check()
      print(f"results    {write_results(_OUTPUT.value, found)}")
  else:
    measure()
  distributed.finish()


if __name__ == "__main__":
  command.run_with_config(main, "checkpoint", "output", needs_config=False)
