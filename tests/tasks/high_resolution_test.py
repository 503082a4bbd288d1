"""Tasks on the 4K variant: maps of half the image's side, where they belong."""

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.common.images import decode_image
from data_pipelines.common.random import Purpose, make_generator
from data_pipelines.corpus.labels import decode_labels
from sapiens2_jax.objectives import build_for_inference
from sapiens2_jax.tasks.evaluate import evaluate
from sapiens2_jax.tasks.pointmap.losses import unproject
from sapiens2_jax.tasks.pose import losses as pose_losses
from tests import tiny  # noqa: F401 (its size)
from tests.evaluation.labelled import make_record
from tests.tasks import samples

SIZE, MAP_SIZE = (128, 96), (64, 48)
WIDTHS = {"pose": (12, 8)}  # 16 pixels a token, 4 for one of a heatmap
# What perfect maps reach: resampling alone is between them and the labels.
BEST = {
  "albedo": ("mae", lambda x: x < 0.03),
  "matting": ("iou", lambda x: x > 0.95),
  "normal": ("mean", lambda x: x < 4),
  "pointmap": ("l2", lambda x: x < 1e-5),
  "pose": ("PCK", lambda x: x > 95),
  "segmentation": ("aAcc", lambda x: x > 97),
}


def make_model(name: str):
  config = samples.load_config(name, SIZE)
  config.model.size = "tiny_4k"
  config.head.upsample_channels = WIDTHS.get(name, (12, 8, 8))
  if name == "pose":
    config.task.flip_test = False
  return build_for_inference(config)


class Source(list):
  """Records by number."""


def perfect(task, record) -> list[dict]:
  """Outputs of a network that knows the labels, of each input."""
  labels = decode_labels(record.labels, task.needs)
  if task.name == "matting":
    alpha = cv2.resize(labels.alpha, task.map_size[::-1]) / 255
    return [{"matte": np.stack([alpha] * 4, -1).astype(np.float32)}]
  outputs = []
  for found in task.targets(labels, (record.height, record.width)):
    batch = {name: jnp.asarray(x)[None] for name, x in found.items()}
    made = {
      "albedo": lambda t: {"albedo": t["albedo"] / 255},
      "normal": lambda t: {"normal": t["normal"]},
      "pointmap": lambda t: {
        "pointmap": unproject(t["depth"], t["intrinsics"]),
        "scale": t["scale"],
      },
      "pose": lambda t: {
        "heatmaps": pose_losses.make_targets(
          t["points"], t["weights"], task.map_size
        )
      },
      "segmentation": lambda t: {"logits": 10 * jax.nn.one_hot(t["parts"], 29)},
    }[task.name](batch)
    outputs.append({name: np.asarray(x[0]) for name, x in made.items()})
  return outputs


@pytest.mark.parametrize("name", BEST)
def test_perfect_maps_are_brought_back_to_the_image(name):
  task = make_model(name).task
  source = Source(make_record(number) for number in range(4))
  outputs = iter([out for record in source for out in perfect(task, record)])

  def apply_fn(_, images):
    assert images.shape[1:3] == SIZE
    (out,) = (next(outputs) for _ in images)
    return {name: x[None] for name, x in out.items()}

  found = evaluate(task, apply_fn, None, source, batch_size=1)
  key, is_good = BEST[name]
  assert is_good(found[key]), found


@pytest.mark.parametrize("name", BEST)
def test_targets_and_outputs_have_the_size_of_the_map(name):
  model = make_model(name)
  map_size = (32, 24) if name == "pose" else MAP_SIZE
  assert model.task.map_size == map_size
  record = make_record(0)
  rng = make_generator(Purpose.TASK, seed=0, index=0, epoch=0)
  labels = decode_labels(record.labels, model.task.needs)
  example = model.task.example(decode_image(record.image), labels, rng)
  spec = model.task.element_spec()
  for key, (shape, dtype) in spec.items():
    assert np.shape(example[key]) == shape
    assert np.asarray(example[key]).dtype == dtype
  batch = {key: jnp.asarray(x)[None] for key, x in example.items()}
  params = nn.unbox(jax.eval_shape(model.init, jax.random.key(0)))

  def run(params, batch):
    outputs = model.predict(params, batch["image"])
    return outputs, model.task.loss(outputs, batch)[0]

  outputs, loss = jax.eval_shape(run, params, batch)
  (key,) = {"pose": ["heatmaps"], "segmentation": ["logits"]}.get(
    name, [name.replace("matting", "matte")]
  )
  assert outputs[key].shape[1:3] == map_size
  assert loss.shape == ()
