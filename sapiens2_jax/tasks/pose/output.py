"""Files and pictures of keypoints."""

import itertools
import json
from collections.abc import Iterable, Iterator

import numpy as np

from data_pipelines.corpus.labels import Labels
from sapiens2_jax.fields import FRACTION, Field, must
from sapiens2_jax.tasks.base import Image
from sapiens2_jax.tasks.files import Files
from sapiens2_jax.tasks.output import PEOPLE, Listed, Output
from sapiens2_jax.tasks.pose.codec import People
from sapiens2_jax.tasks.pose.drawing import MIN_SCORE

_FILE = ("keypoints", ".json")
_PIXELS = must("0 to 255", lambda value: 0 <= value <= 255)


class PoseOutput(Output):
  """See `Output`."""

  options = {
    **PEOPLE,
    "threshold": Field(
      MIN_SCORE, "Keypoints that score less are not drawn.", FRACTION
    ),
    "radius": Field(0, "Of a keypoint in pixels; 0: by the image.", _PIXELS),
    "thickness": Field(0, "Of a link in pixels; 0: by the image.", _PIXELS),
  }

  reads = (_FILE,)

  def encode(self, image: Image, prediction: People, labels: Labels) -> Files:
    """A list of people, boxes x0 y0 x1 y1."""
    listed = []
    for person, keypoints in zip(labels.people, prediction):
      top, left, height, width = person.box
      keypoints = keypoints.astype(np.float64)
      listed.append(
        {
          "bbox": [left, top, left + width, top + height],
          "keypoints": np.round(keypoints[:, :2], 3).tolist(),
          "keypoint_scores": np.round(keypoints[:, 2], 5).tolist(),
        }
      )
    return {_FILE: (json.dumps(listed) + "\n").encode()}

  def draw(self, image: Image, prediction: People, labels: Labels) -> Image:
    chosen = {
      name: self.chosen[name] for name in ("threshold", "radius", "thickness")
    }
    return self.task.draw(image, prediction, **chosen)

  def summarize(
    self, name: str, listed: Iterator[Listed]
  ) -> tuple[str, Iterable[bytes]]:
    """All images in the form that the public Sapiens2 release writes."""
    return f"{name}_predictions.json", self._pieces(name, listed)

  def _pieces(self, name: str, listed: Iterator[Listed]) -> Iterator[bytes]:
    first = next(listed)
    head = {
      "video": name,
      "image_size": list(first.size),
      "num_keypoints": self.task.num_keypoints,
      "kpt_thr_used": self.chosen["threshold"],
    }
    yield json.dumps(head).encode()[:-1] + b', "frames": ['
    separator = b""
    for one in itertools.chain((first,), listed):
      frame = {
        "image_name": one.name,
        "instances": json.loads(one.files[_FILE]),
      }
      yield separator + json.dumps(frame).encode()
      separator = b", "
    yield b"]}\n"
