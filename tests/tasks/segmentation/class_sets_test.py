import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels
from sapiens2_jax.tasks import UnusableExample, make_task, registry
from sapiens2_jax.tasks.segmentation import augment, class_sets
from tests.tasks import samples

NAMES = vocabulary.parts()["names"]
HANDS = json.dumps({"names": ["background", "hair", "Right_Hand", "left hand"]})
OWN = json.dumps(
  {
    "names": ["background", "skirt", "shoe_l", "shoe_r"],
    "weights": {"skirt": 3},
    "colors": {"skirt": [1, 2, 3]},
  }
)


def make(content):
  return class_sets.make(class_sets.resolve(content))


def test_labels_are_mapped_by_name():
  parts = np.arange(29, dtype=np.uint8)[None].repeat(2, 0)
  parts[1, 5] = 255
  found = make(HANDS).relabel(Labels(parts=parts)).parts
  expected = np.zeros((2, 29), np.uint8)  # what has no class is background
  for number, name in ((1, "Hair"), (2, "Right_Hand"), (3, "Left_Hand")):
    expected[:, NAMES.index(name)] = number
  expected[1, 5] = 255
  np.testing.assert_array_equal(found, expected)


def test_own_labels_stay_and_others_are_no_example():
  parts = np.uint8([[0, 1, 2, 3, 255]])
  known = make(OWN)
  found = known.relabel(Labels(parts=parts)).parts
  np.testing.assert_array_equal(found, parts)
  for other in (known, make(HANDS), class_sets.make("")):
    with pytest.raises(UnusableExample, match="hold classes that there are"):
      other.relabel(Labels(parts=parts + np.uint8(29) * (parts == 3)))


@pytest.mark.parametrize(
  ("content", "pair"), [(HANDS, (2, 3)), (OWN, (2, 3)), ("", (6, 15))]
)
def test_a_mirror_image_exchanges_the_sides_alone(content, pair):
  known = class_sets.make(content and class_sets.resolve(content))
  assert pair in (*known.pairs, *(x[::-1] for x in known.pairs))
  count = len(known.names)
  parts = np.arange(count, dtype=np.uint8)[None]
  image = np.zeros((1, count, 3), np.uint8)
  _, flipped = augment.flip(image, parts, known.pairs)
  partner = dict(known.pairs) | {b: a for a, b in known.pairs}
  expected = [partner.get(number, number) for number in range(count)][::-1]
  np.testing.assert_array_equal(flipped[0], expected)


def test_loss_metric_legend_and_picture_are_of_these_classes():
  config = samples.load_config("segmentation")
  config.task.classes = OWN
  task = make_task(config)
  assert task.head().num_outputs == 4
  assert task.classes.weights == (1, 3, 1, 1)
  parts = jnp.full((1, 8, 6), 1, jnp.uint8)
  logits = jnp.zeros((1, 8, 6, 4))
  _, metrics = task.loss({"logits": logits}, {"parts": parts})
  assert jnp.allclose(metrics["loss_ce"], 3 * jnp.log(4.0), rtol=1e-6)
  gradient = jax.grad(lambda x: task.loss({"logits": x}, {"parts": parts})[0])
  assert jnp.isfinite(gradient(logits)).all()
  metric = task.metric()
  found = np.array(parts[0], np.uint8)
  metric.add(found, Labels(parts=found))
  assert metric.confusion.shape == (4, 4)
  legend = registry.definition("segmentation").legend(task)
  assert legend[0] == ("skirt", (1, 2, 3)) and len(legend) == 3
  image = np.full((8, 6, 3), 101, np.uint8)
  picture = task.draw(image, found)
  np.testing.assert_allclose(picture[0, 0], [51, 51.5, 52], atol=1)
