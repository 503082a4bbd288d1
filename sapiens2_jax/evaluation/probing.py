"""All probes of one backbone: shared features, a table of results."""

import os

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.common import storage
from data_pipelines.open_source import open_field
from sapiens2_jax.evaluation import features as features_lib
from sapiens2_jax.evaluation import knn
from sapiens2_jax.evaluation.features import Backbone, View
from sapiens2_jax.evaluation.probe import Probe, make_task, task_view
from sapiens2_jax.runtime import gathering
from sapiens2_jax.tasks import registry
from sapiens2_jax.tasks.examples import check_labels
from sapiens2_jax.training.data import check_shared

RETRIEVAL = "retrieval"
READING = {"attempts": 5, "timeout": 60.0}  # of a record, seconds

Results = dict[str, dict[str, float]]


def run(
  config: ConfigDict, backbone: Backbone, directory: str | os.PathLike
) -> Results:
  """Trains and measures all of `config.tasks`.

  All processes must call this; all get the same numbers. Features are computed
  and tasks are measured by all devices, a decoder is trained by one: so what it
  learns does not depend on how many there are.

  Args:
    config: see experiments/probe.py.
    backbone: frozen.
    directory: where features are kept; all processes see it.

  Returns:
    For each task the numbers of its metric; for "retrieval" those of
    `knn.retrieve`.

  Raises:
    ValueError: unusable images or labels, training and test set are one, or
      features cannot be kept there.
  """
  if storage.is_remote(directory):
    raise ValueError(
      f"features.directory: {directory} is in a bucket; give a directory on a "
      "disk, which all processes of the job share "
      "(--config.features.directory=DIR)."
    )
  image_size = tuple(config.data.image_size)
  max_pixels = config.data.max_pixels
  size = backbone.encoder.architecture.name
  dense = {
    name: make_task(name, image_size, size)
    for name in config.tasks
    if name != RETRIEVAL
  }
  names = ("train", "test") if dense else ("test",)
  opened = {
    name: open_field(f"data.{name}", config.data[name]) for name in names
  }
  for task in dense.values():
    for name, source in opened.items():
      check_labels(source, task, f"data.{name}={config.data[name]}")
  for name, source in opened.items():
    check_shared(source, f"data.{name}={config.data[name]}")
  # The loader tries again by itself.
  readers = {
    name: sources.RetryingSource(source, **READING)
    for name, source in opened.items()
  }
  hashes = {name: features_lib.hash_source(s) for name, s in readers.items()}
  if len(set(hashes.values())) < len(hashes):
    raise ValueError(
      f"data.train={config.data.train} and data.test={config.data.test} hold "
      "the same images; expected others to measure on."
    )

  def cached(name: str, view: View):
    given = readers[name], hashes[name], view, config.features.dtype
    return features_lib.cached(directory, backbone, *given)

  probes, tests = {}, {}
  for name, task in dense.items():
    view = task_view(task, max_pixels)
    probes[name] = Probe(config, task, cached("train", view))
    tests[name] = cached("test", view)
  job = gathering.by_process()
  trained = {
    name: jax.device_get(probes[name].train(opened["train"]))
    for name in list(probes)[job.index :: job.count]
  }
  trained = {
    name: x for found in job.gather(trained) for name, x in found.items()
  }
  results = {
    name: probe.measure(trained[name], readers["test"], tests[name])
    for name, probe in probes.items()
  }
  if RETRIEVAL in config.tasks:
    view = features_lib.crop_view(image_size, max_pixels)
    found = features_lib.load(cached("test", view))
    groups = np.repeat(np.arange(len(found.first) - 1), np.diff(found.first))
    results[RETRIEVAL] = knn.retrieve(np.asarray(found.values), groups)
  return results


def format_table(results: Results) -> str:
  """The score of each task, and retrieval."""
  dense, cells = {**results}, []
  found = dense.pop(RETRIEVAL, None)
  for name, numbers in dense.items():
    score = registry.definition(name).score
    cells.append((score.title, f"{numbers[score.key] * score.factor:.3f}"))
  for name in ("recall_1", "recall_5", "mrr") if found else ():
    shown = f"{found[name]:.3f} ({found[f'chance_{name}']:.3f})"
    cells.append((f"{name} (chance)", shown))
  widths = [max(map(len, cell)) for cell in cells]
  return "\n".join(
    "  ".join(text.rjust(width) for text, width in zip(row, widths))
    for row in zip(*cells)
  )
