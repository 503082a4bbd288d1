r"""Measures frozen features by a light decoder a task.

    sapiens2 probe --checkpoint runs/quickstart --output probes/ \
      --config probe:task=normal,size=toy \
      --config.data.train=people/ --config.data.test=test/

Trains the decoders on features, which are computed once, and kept in
DIR/features. Numbers are printed, and written to DIR/results.json. Runs in any
number of processes, which are started together as those of a training are
(--config.distributed...), and give the same numbers within 1e-6.
"""

import functools
import os

import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict

from sapiens2_jax import command, validation
from sapiens2_jax import config as config_lib
from sapiens2_jax.evaluation import probing
from sapiens2_jax.evaluation.features import Backbone, hash_params
from sapiens2_jax.evaluation.results import measure
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.weights import ENCODERS
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.runtime import distributed, gathering

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Workdir or weights.")
_CONFIG = command.define_config("probe")
_OUTPUT = flags.DEFINE_string("output", None, "Directory of results.json.")
_WEIGHTS = flags.DEFINE_enum(
  "weights", "teacher", ENCODERS, "Which encoder of a training workdir"
)
_ROPE_DTYPE = command.define_rope_dtype(TABLES)


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


def main(overrides: list[str]) -> None:
  config = load_config(overrides)
  measure(_OUTPUT.value, functools.partial(probe, config))


def run() -> None:
  command.run_with_config(main, "checkpoint", "output")


if __name__ == "__main__":
  run()
