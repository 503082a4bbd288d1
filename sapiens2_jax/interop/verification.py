"""Checks an export in PyTorch or ONNX against what it came from."""

import importlib.metadata
import json
import os
import pathlib

import jax
import numpy as np

from data_pipelines import sources
from data_pipelines.common import storage
from data_pipelines.common.images import ImageDecodeError, decode_image
from data_pipelines.loading import crops
from data_pipelines.open_source import open_source
from sapiens2_jax.interop import exports, integrity, onnx_export, parity
from sapiens2_jax.interop.load import load_pretrained, load_task
from sapiens2_jax.interop.weights import find_weights
from sapiens2_jax.models import pixels as pixel_lib

# Of an output's largest value, or of 1 if that is smaller. Float32 summed in
# another order; a head's norms divide by small deviations, and the runtime of
# ONNX also merges and reorders operations.
TOLERANCE = 2e-5
TASK_TOLERANCE = 1e-4
NUM_IMAGES = 2
ONNX_BATCHES = (1, 2)  # the batch is free
# Formats that are checked, and packages whose versions matter.
VERSIONS = {
  "transformers": ("jax", "torch", "transformers", "safetensors"),
  "onnx": ("jax", "onnx", "onnxruntime"),
}


def read_marker(directory: str) -> dict:
  """What the export says of itself."""
  marker = integrity.read_marker(directory, exports.MARKER) or {}
  if marker.get("format") not in VERSIONS:
    raise ValueError(
      f"{directory}: no export for transformers or ONNX; write one with "
      "sapiens2 export --format transformers or onnx"
    )
  return marker


def image_sizes(directory: str) -> list[tuple[int, int]]:
  """The size of training, one of half its height, one of half its width.

  Of pointmaps the first alone: their scale is of images of that size.
  """
  config = json.loads((pathlib.Path(directory) / "config.json").read_text())
  (height, width), patch = config["image_size"], config["patch_size"]
  if config["head_config"]["scale_conv_out_channels"]:
    return [(height, width)]

  def half(side: int) -> int:
    return max(side // 2 // patch, 1) * patch

  return [(height, width), (half(height), width), (height, half(width))]


def random_images(size: tuple[int, int], count: int = 1) -> np.ndarray:
  """(n, h, w, 3) normal noise, as spread as normalised photographs."""
  rng = np.random.default_rng(0)
  return rng.standard_normal((count, *size, 3), np.float32)


def photographs(path: str, size: tuple[int, int]) -> np.ndarray | None:
  """The first usable images, resized; None if there is none."""
  source, found = open_source(path), []
  for index in range(len(source)):
    if len(found) == NUM_IMAGES:
      break
    try:
      image = decode_image(source[index].image)
    except ImageDecodeError:
      continue
    except sources.ShardReadError as error:
      raise ValueError(str(error)) from error
    whole = np.array([0, 0, *image.shape[:2]])
    view = crops.cut(image, whole, image.shape[:2], size)
    found.append(view)
  return np.asarray(pixel_lib.from_uint8(np.stack(found))) if found else None


def load_ours(marker: dict, checkpoint: str) -> parity.Forward:
  """The model of the checkpoint, rounded as the export was."""
  weights = marker["weights"] or "teacher"
  found = find_weights(checkpoint, weights)
  if found.step != marker["step"]:
    raise ValueError(
      f"{checkpoint}: newest step is {found.step}, exported was "
      f"{marker['step']}; export again"
    )
  # transformers computes the table of positions in float32.
  if marker.get("task"):
    float32 = {"rope_dtype": "float32", "dtype": "float32"}
    model, params = load_task(checkpoint, **float32)
    encoder, head = model.encoder, model.head
  else:
    encoder, params = load_pretrained(
      checkpoint, weights=weights, rope_dtype="float32"
    )
    head = None
  rounded = jax.tree.map(
    lambda x: x.astype(marker["dtype"]).astype(x.dtype), params
  )
  return parity.jax_forward(encoder, rounded, head)


def verify(directory: str, checkpoint: str, images: str | None) -> dict:
  """Runs both on equal images and reports every difference.

  Args:
    directory: an export for transformers, or of ONNX.
    checkpoint: what it was exported from.
    images: folder or corpus of photographs, None for random images only.

  Returns:
    "passed", "max_abs_difference", "keys" that did not fit, "comparisons"
    and what was compared; fit for JSON.

  Raises:
    ValueError: if either cannot be read, or they are of different steps.
    ImportError: if torch, transformers or onnxruntime is not installed.
  """
  if storage.is_remote(directory):
    raise ValueError(
      f"--checkpoint={directory}: PyTorch and ONNX read disks only; copy it to "
      "one"
    )
  marker = read_marker(directory)
  packages = VERSIONS[marker["format"]]
  is_onnx = marker["format"] == "onnx"
  if is_onnx:
    theirs, keys = onnx_export.forward(directory), {}
    sizes, counts = [tuple(marker["image_size"])], ONNX_BATCHES
  else:
    theirs, keys = parity.torch_forward(directory)
    sizes, counts = image_sizes(directory), (1,)
  ours = load_ours(marker, checkpoint)
  comparisons = []
  for size in sizes:
    inputs = [("random", random_images(size, count)) for count in counts]
    if images:
      inputs.append(("photographs", photographs(images, size)))
    for name, batch in inputs:
      if batch is None:
        raise ValueError(f"{images}: holds no image that can be decoded")
      result = parity.compare(ours, theirs, batch)
      comparisons.append({"input": name, **result})
  worst, worst_relative = (
    float(
      np.max(  # NaN if there is one, and NaN does not pass
        [
          value
          for result in comparisons
          for name, value in result.items()
          if name.endswith(kind)
        ]
      )
    )
    for kind in (parity.DIFFERENCE, parity.RELATIVE)
  )
  tolerance = TASK_TOLERANCE if is_onnx or marker.get("task") else TOLERANCE
  return {
    "passed": worst_relative <= tolerance and not any(keys.values()),
    "max_abs_difference": worst,
    "max_relative_difference": worst_relative,
    "tolerance": tolerance,
    "keys": keys,
    "comparisons": comparisons,
    # Written into the export, which others get: no directories of ours.
    "export": os.path.basename(os.path.abspath(directory)),
    "checkpoint": os.path.basename(os.path.abspath(checkpoint)),
    "architecture": marker["architecture"],
    "task": marker.get("task"),
    "step": marker["step"],
    "weights": marker["weights"],
    "dtype": marker["dtype"],
    "versions": {name: importlib.metadata.version(name) for name in packages},
  }
