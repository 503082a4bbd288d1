"""A task of the tests among the tasks, its config and its labelled corpora."""

import pathlib

import cv2
import numpy as np

from data_pipelines.corpus import records, writer
from data_pipelines.corpus.labels import Labels, encode_labels
from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.tasks import register_task
from tests import alpha_task, tiny

SPEC = "tests/tiny_finetune.py:size=toy"

register_task(alpha_task.TASK)


def load_config(*overrides: str, num_devices: int = 1):
  return config_lib.load_config(
    SPEC,
    ["model.size=tiny", *overrides],
    lambda config: validation.validate(config, num_devices),
  )


class Run(tiny.Run):
  """As `tiny.Run`, of the task."""

  load_config = staticmethod(load_config)


def make_record(number: int, is_labelled: bool = True) -> records.Record:
  """A bright disc before a dark ground; alpha says where."""
  rng = np.random.default_rng(number)
  height, width = 40 + 10 * (number % 4), 70 - 10 * (number % 3)
  alpha = np.zeros((height, width), np.uint8)
  centre = (
    int(width * rng.uniform(0.2, 0.8)),
    int(height * rng.uniform(0.3, 0.7)),
  )
  cv2.circle(alpha, centre, 14, 255, -1)
  noise = rng.integers(0, 60, (height, width, 3), np.uint8)
  image = cv2.imencode(".png", noise + alpha[..., None] // 2)[1].tobytes()
  return records.Record(
    image,
    height,
    width,
    records.hash_content(image),
    f"{number}.png",
    labels=encode_labels(Labels(alpha=alpha)) if is_labelled else b"",
  )


def write_corpus(directory: pathlib.Path, found: list[records.Record]) -> str:
  """A corpus of one shard; returns its path."""
  writer.commit(directory, [writer.write_shard(directory, "0", found)])
  return str(directory)
