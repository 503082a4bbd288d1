"""Names, colours, mirror pairs and weights of keypoints and body parts."""

import functools
import importlib.resources
import json


@functools.cache
def keypoints() -> dict:
  """The 308 keypoints; see the file for its fields."""
  return _read("keypoints308.json")


@functools.cache
def parts() -> dict:
  """The 29 body parts; see the file for its fields."""
  return _read("segmentation29.json")


def _read(name: str) -> dict:
  path = importlib.resources.files(__name__).joinpath(name)
  return json.loads(path.read_text())
