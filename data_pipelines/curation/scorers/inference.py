"""Opens models, one thread each: units of work run side by side."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from data_pipelines.common import packages
from data_pipelines.curation.models import cache, catalog
from data_pipelines.curation.scorers import base

# One array in, the outputs in the order of the model.
Run = Callable[[np.ndarray], list[np.ndarray]]
_EXTRA = "curation"


def open_model(name: str, directory: str | os.PathLike | None = None) -> Run:
  """Opens a model of one input.

  Args:
    name: of `catalog.MODELS`.
    directory: the folder of models, see `cache.find_root`.

  Raises:
    ValueError: it is not there; the message names the command that brings it.
    MissingExtra: what runs it is not installed.
  """
  path = cache.find_model(name, directory)
  return _open_onnx(path) if path.suffix == ".onnx" else _open_tflite(path)


def fingerprint(name: str, version: int, **settings: object) -> str:
  """Hash of a scorer's models, settings and version."""
  sums = [catalog.MODELS[model].sha256 for model in catalog.SCORERS[name]]
  return base.hash_settings(name, version, sums, settings)


def _open_onnx(path: os.PathLike) -> Run:
  runtime = packages.require("onnxruntime", _EXTRA)
  options = runtime.SessionOptions()
  options.intra_op_num_threads = options.inter_op_num_threads = 1
  session = runtime.InferenceSession(
    os.fspath(path), options, providers=["CPUExecutionProvider"]
  )
  (given,) = session.get_inputs()
  return lambda array: session.run(None, {given.name: array})


def _open_tflite(path: os.PathLike) -> Run:
  packages.require("ai_edge_litert", _EXTRA)
  runtime = packages.require("ai_edge_litert.interpreter", _EXTRA)
  opened = runtime.Interpreter(os.fspath(path), num_threads=1)
  opened.allocate_tensors()
  (given,) = opened.get_input_details()
  made = opened.get_output_details()

  def run(array: np.ndarray) -> list[np.ndarray]:
    opened.set_tensor(given["index"], array)
    opened.invoke()
    return [opened.get_tensor(output["index"]) for output in made]

  return run
