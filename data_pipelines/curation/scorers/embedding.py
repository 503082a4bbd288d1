"""Scorer: a vector for each image, by any ONNX model on the disk."""

from __future__ import annotations

import hashlib
import os
import pathlib

import cv2
import numpy as np

from data_pipelines.common import packages
from data_pipelines.curation.scorers import base

NAME = "embedding"
COLUMNS = {"vector": "list<float32>"}
_VERSION = 1
_BLOCK = 2**24  # Bytes that are hashed together.


class EmbeddingScorer:
  """What a model of one image, (1, 3, h, w) or (1, h, w, 3), says of it.

  The image is squeezed into the size. Images go one by one: in a batch the
  last bits of one could depend on the others.
  """

  name = NAME
  columns = COLUMNS

  def __init__(
    self,
    *,
    model: str | os.PathLike,
    image_size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    output: str = "",
  ):
    """Nothing is opened yet.

    Args:
      model: ONNX file.
      image_size: (height, width) in pixels.
      mean, std: of each channel of RGB in [0, 1].
      output: name of what the model puts out, of one vector an image; "" for
        its first.
    """
    self._path = pathlib.Path(model)
    if not self._path.is_file():
      raise ValueError(f"embedding.model={model}: no such file.")
    self._size = tuple(image_size)
    self._mean, self._std = (np.float32(values) for values in (mean, std))
    self._output = output
    # Now and not later: all processes must mean the same file.
    self._fingerprint = base.hash_settings(
      self.name,
      _VERSION,
      _hash_model(self._path),
      *(list(self._size), self._mean.tolist(), self._std.tolist()),
      output,
    )

  def fingerprint(self) -> str:
    return self._fingerprint

  def load(self) -> None:
    """Raises ValueError if it is no model of images of this size."""
    runtime = packages.require("onnxruntime", "curation")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
      session = runtime.InferenceSession(
        os.fspath(self._path), options, providers=["CPUExecutionProvider"]
      )
    except Exception as error:  # Of many kinds, all of the runtime's own.
      raise ValueError(f"embedding.model={self._path}: {error}") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    wanted = [self._output] if self._output else [outputs[0].name]
    if wanted[0] not in [output.name for output in outputs]:
      raise ValueError(
        f"embedding.output={wanted[0]}: {self._path} puts out "
        f"{', '.join(output.name for output in outputs)}."
      )
    shape = inputs[0].shape
    channels_first = len(shape) == 4 and shape[1] == 3
    pixels = (3, *self._size) if channels_first else (*self._size, 3)
    is_fit = len(inputs) == 1 and len(shape) == 4
    for found, given in zip(shape, (1, *pixels)):
      is_fit &= not isinstance(found, int) or found == given
    if not is_fit:
      raise ValueError(
        f"embedding.model={self._path}: takes "
        f"{', '.join(str(one.shape) for one in inputs)}, expected one image of "
        f"embedding.image_size={self._size}."
      )
    name = inputs[0].name

    def run(image: np.ndarray) -> np.ndarray:
      array = image.transpose(2, 0, 1) if channels_first else image
      array = np.ascontiguousarray(array[None])
      return session.run(wanted, {name: array})[0]

    self._run = run

  def score(self, images: list[base.Image], earlier: list[dict]) -> list[dict]:
    return [self._score(image) for image in images]

  def _score(self, image: base.Image) -> dict:
    pixels = resize(image, self._size).astype(np.float32) / 255
    found = self._run((pixels - self._mean) / self._std)
    if found.size != found.shape[-1] or not np.isfinite(found).all():
      raise ValueError(
        f"{self._path} put out {found.shape}, expected one finite vector"
      )
    return {"vector": found.astype(np.float32).ravel().tolist()}


def resize(image: base.Image, size: tuple[int, int]) -> base.Image:
  """Squeezes an image into (height, width)."""
  is_smaller = size[0] * size[1] < image.shape[0] * image.shape[1]
  how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
  return cv2.resize(image, size[::-1], interpolation=how)


def _hash_model(path: pathlib.Path) -> str:
  """Of the file, and of the weights that lie beside it under its name."""
  digest = hashlib.sha256()
  for file in (path, path.with_name(f"{path.name}.data")):
    if file.is_file():
      with open(file, "rb") as opened:
        while data := opened.read(_BLOCK):
          digest.update(data)
  return digest.hexdigest()
