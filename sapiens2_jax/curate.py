r"""Makes a corpus of what is worth keeping in a pool.

    sapiens2 corpus curate --config curation:size=toy \
      --input photographs/ --output curated/

The corpus is DIR/corpus; beside it, DIR/scores has what every scorer found
and DIR/decisions.parquet why each image was kept or not. After Ctrl-C, a kill
or an error the same command continues. With a pool that grew only what is new
is scored. --runner ray (or ray://HOST:PORT) does the same on Ray.
`curation:size=full` finds people and needs `sapiens2 corpus models` before.
"""

import os
import re

from absl import flags

from data_pipelines.common import storage
from data_pipelines.corpus import manifest as manifests
from data_pipelines.curation import deciding, nearness, pipeline, scorers
from data_pipelines.curation.engine import Engine
from data_pipelines.curation.models import cache, catalog
from data_pipelines.curation.sampling import Sampling
from data_pipelines.curation.scorers import embedding as embeddings
from sapiens2_jax import command, validation
from sapiens2_jax import config as config_lib

_CONFIG = command.define_config("curation")
_INPUT = flags.DEFINE_multi_string(
  "input", None, "Folder, tar, glob of tars or corpus; repeatable."
)
_OUTPUT = flags.DEFINE_string("output", None, "Directory of the curation.")
_RUNNER = flags.DEFINE_string(
  "runner", "native", "native, ray, or ray://HOST:PORT."
)
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes.")
_ENDS = ("min", "max")


def make_settings(config) -> pipeline.Settings:
  """What a config says, with its scorers made.

  Raises:
    ValueError: no such scorer, a limit of a column that it does not have, a
      take-down list that is none.
  """
  passes, limits = [], []
  for names in (config.scorers.first, config.scorers.later):
    made = []
    for name in names:
      scorer, own = _make_scorer(
        name, config.get(name, {}), config.scorers.models
      )
      made.append(scorer)
      limits += own
    if made:
      passes.append(tuple(made))
  embedding, column = _make_embedding(config), ""
  if embedding is not None:
    passes.append((embedding,))  # Of what all limits have kept.
    (column,) = (f"{embedding.name}_{name}" for name in embedding.columns)
  return pipeline.Settings(
    passes=tuple(passes),
    limits=tuple(limits),
    near=nearness.Nearness(
      max_distance=config.duplicates.max_distance,
      min_pdq_quality=config.duplicates.min_pdq_quality,
      embedding=column,
      min_similarity=config.duplicates.min_similarity,
      seed=config.sampling.seed,
    ),
    best=config.duplicates.best,
    takedown=read_takedown(config.takedown.path),
    takedown_near=config.takedown.near,
    embedding=column,
    sampling=Sampling(**config.sampling.to_dict()),
    shard_size=config.corpus.shard_size,
  )


def _make_scorer(name: str, group, models: str):
  ends, options = {}, {"models": models} if name in catalog.SCORERS else {}
  for field, value in group.items():
    end, _, column = field.partition("_")
    if end in _ENDS:
      ends.setdefault(column, {})[end] = value
    else:
      options[field] = value
  scorer = scorers.make_scorer(name, **options)
  for column in ends:
    if column not in scorer.columns:
      raise ValueError(
        f"{name}.{next(iter(ends[column]))}_{column}: the scorer has no such "
        f"column; it has {', '.join(scorer.columns)}"
      )
  limits = [
    deciding.Limit(
      f"{name}_{column}",
      found.get("min", float("-inf")),
      found.get("max", float("inf")),
    )
    for column, found in ends.items()
  ]
  return scorer, limits


def check_models(config) -> None:
  """Looks for the models before work begins, not in its midst.

  Raises:
    ValueError: one is not there; the message names the command that brings it.
  """
  names = (*config.scorers.first, *config.scorers.later)
  needed = cache.names_of(name for name in names if name in catalog.SCORERS)
  for name in needed:
    cache.find_model(name, config.scorers.models)


def _make_embedding(config):
  group = config.embedding
  if not group.model:
    return None
  if group.model.endswith(".onnx"):
    return embeddings.EmbeddingScorer(**group.to_dict())
  from sapiens2_jax import embedding  # JAX takes seconds to import.

  return embedding.CheckpointScorer(group.model, group.image_size)


def read_takedown(path: str) -> frozenset[str]:
  """Reads hashes, one a line; empty lines and what follows # do not count.

  Raises:
    ValueError: a line is no SHA-256 in hex.
    OSError: the file cannot be read.
  """
  if not path:
    return frozenset()
  found = set()
  lines = storage.read_bytes(path).decode("utf-8-sig").splitlines()
  for number, line in enumerate(lines, 1):
    text = line.partition("#")[0].strip().lower()
    if text and not re.fullmatch("[0-9a-f]{64}", text):
      raise ValueError(
        f"takedown.path={path}: line {number}: {text[:70]!r} is no SHA-256 "
        "in hex."
      )
    found.add(text)
  return frozenset(found - {""})


def main(overrides: list[str]) -> None:
  config = config_lib.load_config(
    _CONFIG.value,
    overrides,
    lambda config: validation.validate(config, 1, "curation"),
  )
  settings = make_settings(config)
  check_models(config)
  manifest = pipeline.curate(
    _INPUT.value,
    _OUTPUT.value,
    settings,
    pipeline.Work(
      Engine(_RUNNER.value, _WORKERS.value), **config.work.to_dict()
    ),
  )
  print(f"results    {_OUTPUT.value}/corpus: {manifests.summarize(manifest)}")


def run() -> None:
  command.run_with_config(main, "input", "output")


if __name__ == "__main__":
  run()
