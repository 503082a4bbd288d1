"""Small files of annotations for tests."""

from __future__ import annotations

import json
import pathlib

import cv2
import numpy as np

from data_pipelines.corpus.labels import Labels, decode_labels


def write_image(path: pathlib.Path, size: tuple[int, int], seed=0):
  """Writes a colourful picture of that height and width; returns its RGB."""
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (*size, 3), np.uint8)
  write_pixels(path, pixels)
  return pixels


def write_pixels(path: pathlib.Path, pixels: np.ndarray) -> None:
  """Writes grey, RGB or RGBA pixels of 8 or 16 bits, with OpenCV."""
  path.parent.mkdir(parents=True, exist_ok=True)
  if pixels.ndim == 3:
    pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
  assert cv2.imwrite(str(path), pixels)


def write_json(path: pathlib.Path, value: object) -> str:
  """Writes JSON; returns the path as text."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value))
  return str(path)


def write_array(path: pathlib.Path, array: np.ndarray) -> None:
  """Writes an .npy file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  np.save(path, array)


def labels_of(source, index: int = 0) -> Labels:
  """The labels of a record."""
  return decode_labels(source[index].labels)
