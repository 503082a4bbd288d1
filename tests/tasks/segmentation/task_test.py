import pickle

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.tasks import UnusableExample, make_task
from sapiens2_jax.tasks.segmentation.task import crop_region
from tests.head_sizes import num_params
from tests.tasks.task_configs import SIZES, load_task_config


def make_toy(backgrounds="", crop="image"):
  config = load_task_config("segmentation", "toy")
  config.task.crop = crop
  config.task.backgrounds = str(backgrounds)
  return make_task(config)


IMAGE = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)


def make_parts():
  parts = np.zeros(IMAGE.shape[:2], np.uint8)
  parts[20:180, 60:200] = 23
  parts[30:80, 100:150] = 3
  parts[100:110] = 255
  return parts


@pytest.mark.parametrize(
  ("size", "count"),
  [
    ("0.4b", 11_151_325),
    ("0.8b", 13_248_477),
    ("1b", 15_345_629),
    ("5b", 22_685_661),
  ],
)
def test_heads_are_as_large_as_the_released_ones(size, count):
  task = make_task(load_task_config("segmentation", size))
  width = ARCHITECTURES[size].embed_dim
  assert num_params(task.head(), (64, 48, width)) == count


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_a_config(size):
  task = make_task(load_task_config("segmentation", size))
  assert task.head().num_outputs == 29


@pytest.mark.parametrize("has_backgrounds", [False, True])
def test_examples_have_the_announced_shapes(has_backgrounds, tmp_path):
  backgrounds = ""
  if has_backgrounds:
    backgrounds = tmp_path
    cv2.imwrite(str(tmp_path / "a.png"), np.full((90, 50, 3), 77, np.uint8))
  task = pickle.loads(pickle.dumps(make_toy(backgrounds)))
  labels = Labels(parts=make_parts())
  for seed in range(8):
    example = task.example(IMAGE, labels, np.random.default_rng(seed))
    found = {name: (a.shape, a.dtype) for name, a in example.items()}
    expected = {
      name: (shape, np.dtype(dtype))
      for name, (shape, dtype) in task.element_spec().items()
    }
    assert found == expected
    again = task.example(IMAGE, labels, np.random.default_rng(seed))
    for name, array in example.items():
      np.testing.assert_array_equal(array, again[name])


def test_backgrounds_come_from_where_the_config_says(tmp_path):
  cv2.imwrite(str(tmp_path / "a.png"), np.full((90, 50, 3), 77, np.uint8))
  task = make_toy(tmp_path)
  image = np.zeros((40, 30, 3), np.uint8)
  rng = np.random.default_rng(0)
  found = [task._background(image, rng) for _ in range(300)]
  given = [scene for scene in found if scene is not None]
  assert 0.72 < len(given) / 300 < 0.88
  np.testing.assert_array_equal(given[0], np.full((40, 30, 3), 77))


def test_images_of_the_wild_keep_their_backgrounds(tmp_path):
  cv2.imwrite(str(tmp_path / "a.png"), np.full((90, 50, 3), 255, np.uint8))
  task = make_toy(tmp_path)
  image, parts = np.zeros((*make_parts().shape, 3), np.uint8), make_parts()
  means = {}
  for is_wild in (0, 1):
    labels = Labels(parts=parts).replace(in_the_wild=np.uint8([is_wild]))
    means[is_wild] = [
      task.example(image, labels, np.random.default_rng(seed))["image"].mean()
      for seed in range(12)
    ]
  assert np.median(means[1]) < 40 < np.median(means[0])


def test_a_place_without_backgrounds_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="holds no images"):
    make_toy(tmp_path)


def test_a_damaged_background_makes_the_example_unusable(tmp_path):
  ok, data = cv2.imencode(".png", np.zeros((90, 50, 3), np.uint8))
  (tmp_path / "a.png").write_bytes(data.tobytes()[:60])
  task = make_toy(tmp_path)
  with pytest.raises(UnusableExample, match="background: "):
    for seed in range(20):
      labels = Labels(parts=make_parts())
      task.example(IMAGE, labels, np.random.default_rng(seed))


def test_images_that_show_too_little_are_unusable():
  task, rng = make_toy(), np.random.default_rng(0)
  with pytest.raises(UnusableExample, match="no parts"):
    task.example(IMAGE, Labels(), rng)
  parts = np.zeros(IMAGE.shape[:2], np.uint8)
  parts[100] = 255
  parts[0, :7] = 1
  with pytest.raises(UnusableExample, match="fewer than 8 pixels"):
    task.example(IMAGE, Labels(parts=parts), rng)
  parts[0, :20] = 1
  with pytest.raises(UnusableExample, match="less than 1 %"):
    task.example(IMAGE, Labels(parts=parts), rng)


def test_right_logits_give_the_labels_back():
  task = make_toy()
  parts = make_parts()
  parts[parts == 255] = 0
  (prepared,) = task.preprocess(IMAGE, None)
  assert prepared.image.shape == (128, 96, 3)
  small = cv2.resize(parts, (96, 128), interpolation=cv2.INTER_NEAREST_EXACT)
  outputs = [{"logits": np.eye(29, dtype=np.float32)[small]}]
  found = task.postprocess(outputs, [prepared])
  assert found.shape == IMAGE.shape[:2] and found.dtype == np.uint8
  assert (found == parts).mean() > 0.98  # all but borders
  metric = task.metric()
  metric.add(found, Labels(parts=parts))
  assert metric.result()["mIoU_present"] > 95


BOXES = ((20.0, 60.0, 90.0, 50.0), (90.0, 150.0, 90.0, 50.0))


def label_people(parts):
  unseen = np.zeros((308, 3), np.float32)
  return Labels(parts=parts, people=tuple(Person(box, unseen) for box in BOXES))


@pytest.mark.parametrize(
  ("box", "region"),
  [  # rows: 1.1 heights; columns: 3/4 of that
    ((50.0, 100.0, 120.0, 41.0), np.s_[44:176, 71:170]),
    ((0.0, 0.0, 120.0, 40.0), np.s_[0:132, 0:99]),  # moved into the image
    ((-20.0, 40.0, 300.0, 200.0), np.s_[0:200, 16:264]),  # cut
    ((190.0, 259.0, 0.0, 0.0), np.s_[190:191, 258:259]),
  ],
)
def test_a_crop_holds_a_person_and_lies_in_the_image(box, region):
  found = crop_region(box, (200, 264 if box[0] < 0 else 260), (128, 96))
  assert found == region


def test_each_person_is_seen_alone_and_pasted_back():
  task, parts = make_toy(crop="person"), make_parts()
  parts[parts == 255] = 0
  labels = label_people(parts)
  assert "people" in task.needs and "people" not in make_toy().needs
  prepared = task.preprocess(IMAGE, labels)
  targets = task.targets(labels, parts.shape)
  assert len(prepared) == len(targets) == len(BOXES)
  eye = np.eye(29, dtype=np.float32)
  outputs = [{"logits": 9 * eye[target["parts"]]} for target in targets]
  found = task.postprocess(outputs, prepared)
  seen = np.zeros(parts.shape, bool)
  for box in BOXES:
    seen[crop_region(box, parts.shape, (128, 96))] = True
  assert (found == parts)[seen].mean() > 0.98 and not found[~seen].any()
  # The surer crop decides, whatever the scale of its logits.
  outputs[0] = {"logits": np.zeros((128, 96, 29), np.float32) + 99}
  found = task.postprocess(outputs, prepared)
  second = crop_region(BOXES[1], parts.shape, (128, 96))
  assert (found == parts)[second].mean() > 0.98
  # Without people it is the whole image.
  (whole,) = task.preprocess(IMAGE, None)
  assert whole.image.shape == (128, 96, 3)


def test_training_sees_one_person_by_chance():
  task, parts = make_toy(crop="person"), np.zeros(IMAGE.shape[:2], np.uint8)
  parts[20:110, 60:110], parts[90:180, 150:200] = 3, 23
  classes = []
  for seed in range(12):
    rng = np.random.default_rng(seed)
    example = task.example(IMAGE, label_people(parts), rng)
    classes.append(set(np.unique(example["parts"])) - {0, 255})
  assert {3} in classes and {23} in classes
  parts[:] = 0
  parts[:9, :9] = 3  # Of nobody whose box is known.
  with pytest.raises(UnusableExample, match="no person covers 8 pixels"):
    task.example(IMAGE, label_people(parts), np.random.default_rng(0))


def test_class_after_class_gives_the_highest_of_all_logits():
  task = make_toy()
  logits = np.random.default_rng(0).standard_normal((16, 12, 29))
  logits = logits.astype(np.float32)
  (prepared,) = task.preprocess(IMAGE, None)
  found = task.postprocess([{"logits": logits}], [prepared])
  resized = jax.image.resize(logits, (*IMAGE.shape[:2], 29), "bilinear")
  expected = np.argmax(resized, axis=-1)
  assert (found == expected).mean() > 0.999  # float32 ties


def test_training_brings_the_loss_down():
  config = load_task_config("segmentation", "toy", (48, 32))
  config.head.upsample_channels, config.head.conv_channels = (16, 8), (8,)
  task = make_task(config)  # a quarter of the size: logits are resized
  rng = np.random.default_rng(2)
  parts = cv2.resize(make_parts(), (32, 48), interpolation=cv2.INTER_NEAREST)
  batch = {"parts": jnp.stack([parts, parts[:, ::-1]])}
  features = jnp.asarray(rng.standard_normal((2, 3, 2, 32)), jnp.float32)
  head = task.head()
  params = head.init(jax.random.key(0), features)
  tx = optax.adam(5e-2)

  def compute_loss(params):
    return task.loss(head.apply(params, features), batch)

  @jax.jit
  def update(params, state):
    (_, metrics), grads = jax.value_and_grad(compute_loss, has_aux=True)(params)
    updates, state = tx.update(grads, state)
    return optax.apply_updates(params, updates), state, metrics

  state = tx.init(params)
  history = []
  for _ in range(20):
    params, state, metrics = update(params, state)
    history.append(metrics)
  assert set(metrics) == {"loss_ce", "loss_dice", "accuracy"}
  for name in ("loss_ce", "loss_dice"):
    assert metrics[name] < 0.5 * history[0][name]
  assert metrics["accuracy"] > 0.8


def test_pictures_have_the_size_of_the_image():
  picture = make_toy().draw(IMAGE, make_parts())
  assert picture.shape == IMAGE.shape and picture.dtype == np.uint8
