import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.tasks import UnusableExample, make_task
from sapiens2_jax.tasks.pose import codec
from tests.head_sizes import num_params
from tests.tasks.task_configs import SIZES, load_task_config

KNOWN = vocabulary.keypoints()
FLIP = np.array(KNOWN["flip_indices"])


def make_toy(**task):
  config = load_task_config("pose", "toy")
  config.task.update(task)
  return make_task(config)


def draw_labels(rng, boxes=((40, 60, 120, 70), (10, 150, 180, 90))):
  people = []
  for top, left, height, width in boxes:
    places = [left, top] + rng.uniform(0.1, 0.9, (308, 2)) * [width, height]
    visible = rng.integers(0, 3, 308)
    visible[:10] = 2
    keypoints = np.column_stack([places, visible]).astype(np.float32)
    people.append(Person((top, left, height, width), keypoints))
  return Labels(people=tuple(people))


IMAGE = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)


@pytest.mark.parametrize(
  ("size", "count"),
  [
    ("0.4b", 30_226_996),
    ("0.8b", 34_421_300),
    ("1b", 64_305_972),
    ("5b", 53_295_668),
  ],
)
def test_heads_are_as_large_as_the_released_ones(size, count):
  task = make_task(load_task_config("pose", size))
  width = ARCHITECTURES[size].embed_dim
  assert num_params(task.head(), (64, 48, width)) == count


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_a_config(size):
  task = make_task(load_task_config("pose", size))
  assert task.head().num_outputs == 308


def test_examples_have_the_announced_shapes_and_are_reproducible():
  task = pickle.loads(pickle.dumps(make_toy()))
  labels = draw_labels(np.random.default_rng(1))
  first, again = (
    task.example(IMAGE, labels, np.random.default_rng(5)) for _ in range(2)
  )
  found = {name: (array.shape, array.dtype) for name, array in first.items()}
  expected = {
    name: (shape, np.dtype(dtype))
    for name, (shape, dtype) in task.element_spec().items()
  }
  assert found == expected
  for name, array in first.items():
    np.testing.assert_array_equal(array, again[name])


def test_keypoints_that_are_not_labelled_weigh_nothing():
  task = make_toy()
  labels = draw_labels(np.random.default_rng(1), ((40, 60, 120, 70),))
  hidden = labels.people[0].keypoints[:, 2] == 0
  for seed in range(20):
    example = task.example(IMAGE, labels, np.random.default_rng(seed))
    weights = example["weights"]
    allowed = ~hidden | ~hidden[FLIP]
    assert not weights[~allowed].any()
    assert set(np.unique(weights)) <= {0, 1}
    shown = example["points"][weights > 0]
    assert (shown >= 0).all() and (shown <= [23.25, 31.25]).all()


def test_people_to_learn_from_are_drawn_at_random():
  task = make_toy()
  rng = np.random.default_rng(1)
  labels = draw_labels(rng)
  # Only one of them has this keypoint.
  labels.people[0].keypoints[200:, 2] = 0
  labels.people[1].keypoints[200:, 2] = 2
  seen = [
    task.example(IMAGE, labels, rng)["weights"][200:].any() for _ in range(30)
  ]
  assert any(seen) and not all(seen)


@pytest.mark.parametrize("case", ["nobody", "unknown", "few", "outside"])
def test_an_image_without_enough_keypoints_is_unusable(case):
  labels = draw_labels(np.random.default_rng(1), ((40, 60, 120, 70),))
  keypoints = labels.people[0].keypoints
  if case == "nobody":
    labels = Labels(people=())
  elif case == "unknown":
    labels = Labels()
  elif case == "few":
    keypoints[5:, 2] = 0
  else:
    keypoints[:16, 0] = 300  # leaves five of the body and the feet
  with pytest.raises(UnusableExample, match="no person with 8 keypoints"):
    make_toy().example(IMAGE, labels, np.random.default_rng(0))


def answer_perfectly(task, labels, prepared):
  """Heatmaps of the labels, as a perfect network would give them."""
  size = codec.heatmap_size(task.image_size)
  inputs = 2 if task.flip_test else 1
  outputs = []
  for person, item in zip(labels.people, prepared[::inputs]):
    center, extent = item.context
    points = person.keypoints[:, :2] - center + extent / 2
    points = points / extent * (np.array(size[::-1]) - 1)
    maps = codec.encode_heatmaps(points, np.ones(308, bool), size)
    outputs.append({"heatmaps": maps})
    if task.flip_test:
      outputs.append({"heatmaps": maps[:, ::-1, FLIP]})
  return outputs


@pytest.mark.parametrize("flip_test", [False, True])
def test_perfect_heatmaps_give_the_labels_back(flip_test):
  task = make_task(load_task_config("pose", "0.4b", (256, 192)))
  task = pickle.loads(pickle.dumps(task))
  object.__setattr__(task, "flip_test", flip_test)
  labels = draw_labels(np.random.default_rng(1))
  prepared = task.preprocess(IMAGE, labels)
  assert len(prepared) == 2 * (1 + flip_test)
  if flip_test:
    np.testing.assert_array_equal(prepared[1].image, prepared[0].image[:, ::-1])
  outputs = answer_perfectly(task, labels, prepared)
  people = task.postprocess(outputs, prepared)
  assert people.shape == (2, 308, 3) and people.dtype == np.float32
  expected = np.stack([p.keypoints[:, :2] for p in labels.people])
  # A pixel of the heatmap is up to 5 pixels of the image; a fifth of it.
  np.testing.assert_allclose(people[..., :2], expected, atol=1.0)
  assert people[..., 2].min() > 0.85
  metric = task.metric()
  metric.add(people, labels)
  assert metric.result()["PCK"] == 100


def test_without_labels_the_whole_image_is_one_person():
  task = make_toy(flip_test=False)
  for labels in (None, Labels()):
    (prepared,) = task.preprocess(IMAGE, labels)
    assert prepared.image.shape == (128, 96, 3)
    center, extent = prepared.context
    np.testing.assert_array_equal(center, [259 / 2, 199 / 2])
    np.testing.assert_allclose(extent, [259 * 1.25, 259 * 1.25 * 4 / 3])
  assert task.preprocess(IMAGE, Labels(people=())) == []
  assert task.postprocess([], []).shape == (0, 308, 3)


def test_training_brings_the_loss_down():
  config = load_task_config("pose", "toy", (48, 32))
  config.head.upsample_channels, config.head.conv_channels = (32, 32), (32,)
  task = make_task(config)
  labels = draw_labels(np.random.default_rng(1))
  rng = np.random.default_rng(2)
  examples = [task.example(IMAGE, labels, rng) for _ in range(2)]
  batch = {
    name: jnp.stack([example[name] for example in examples])
    for name in ("points", "weights")
  }
  features = jnp.asarray(rng.standard_normal((2, 3, 2, 32)), jnp.float32)
  head = task.head()
  params = head.init(jax.random.key(0), features)
  tx = optax.adam(2e-2)

  def compute_loss(params):
    return task.loss(head.apply(params, features), batch)

  @jax.jit
  def update(params, state):
    (loss, metrics), grads = jax.value_and_grad(compute_loss, has_aux=True)(
      params
    )
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, metrics

  state = tx.init(params)
  history = []
  for _ in range(25):
    params, state, metrics = update(params, state)
    history.append(metrics)
  assert set(metrics) == {"loss_heatmap", "accuracy"}
  assert metrics["loss_heatmap"] < 0.2 * history[0]["loss_heatmap"]


def test_pictures_have_the_size_of_the_image():
  people = np.ones((2, 308, 3), np.float32)
  picture = make_toy().draw(IMAGE, people)
  assert picture.shape == IMAGE.shape and picture.dtype == np.uint8


def test_a_head_that_does_not_fit_the_heatmaps_is_an_error():
  config = load_task_config("pose", "toy")
  config.head.upsample_channels = (64,)
  with pytest.raises(ValueError, match=r"upsample_channels=\(64,\) must be 2"):
    make_task(config)
