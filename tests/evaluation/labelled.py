"""Records with labels of every probed task, and tiny frozen backbones."""

import functools

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.corpus import records
from data_pipelines.corpus.labels import Labels, Person, encode_labels
from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.evaluation.features import Backbone, hash_params
from sapiens2_jax.models.encoder import Encoder
from tests import tiny  # noqa: F401 (its size)
from tests.tasks import samples

SIZE = (64, 48)


def make_record(number: int) -> records.Record:
  """A ball as everybody's body, with keypoints, parts and maps."""
  rng = np.random.default_rng(number)
  size = (70 + 5 * (number % 5), 50 + 4 * (number % 3))
  image, found = samples.ball(size)
  image = np.where(
    found.mask[..., None], image, rng.integers(0, 255, (*size, 3), np.uint8)
  )
  rows, cols = np.nonzero(found.mask)
  chosen = rng.integers(len(rows), size=308)
  keypoints = np.stack([cols[chosen], rows[chosen], np.full(308, 2)], axis=1)
  box = (
    *(rows.min(), cols.min()),
    *(np.ptp(rows) + 1, np.ptp(cols) + 1),
  )
  person = Person(tuple(map(float, box)), keypoints.astype(np.float32))
  labels = Labels(
    people=(person,) * (1 + number % 2),
    alpha=found.alpha,
    parts=np.where(found.mask, 1 + (np.indices(size)[0] > 35), 0).astype(
      np.uint8
    ),
    normal=found.normal,
    depth=found.depth,
    intrinsics=found.intrinsics,
    albedo=found.albedo,
  )
  data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1]
  return records.Record(
    data.tobytes(),
    *size,
    records.hash_content(data.tobytes()),
    f"{number}.png",
    labels=encode_labels(labels),
  )


@functools.cache
def _jit_init(encoder: Encoder):
  image = jnp.zeros((1, 16, 16, 3))
  return jax.jit(lambda rng: nn.unbox(encoder.init(rng, image)["params"]))


def make_backbone(seed: int) -> Backbone:
  encoder = Encoder(ARCHITECTURES["tiny"], layer_scale_init=0.5)
  params = _jit_init(encoder)(jax.random.key(seed))
  return Backbone(encoder, params, hash_params(params))


def load_config(argument: str, *overrides: str):
  return config_lib.load_config(
    f"experiments/probe.py:{argument},size=toy",
    [
      f"data.image_size={SIZE}",
      "decoder.hidden_dim=16",
      "optim.batch_size=4",
      "optim.num_steps=3",
      "optim.warmup_steps=1",
      *overrides,
    ],
    lambda config: validation.validate(config, 1, "probe"),
  )
