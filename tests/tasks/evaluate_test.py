import numpy as np
import pytest

from data_pipelines.common import images
from data_pipelines.corpus.labels import decode_labels
from sapiens2_jax import tasks
from sapiens2_jax.tasks.columns import side_by_side
from sapiens2_jax.tasks.evaluate import evaluate
from tests import tiny_task
from tests.tasks.examples_test import Source, records

TASK = tasks.make_task(tiny_task.load_config())


def apply_fn(params, batch):
  """Depends on each pixel; counts the calls."""
  params["calls"] += 1
  assert batch.shape[1:] == (64, 48, 3) and batch.dtype == np.uint8
  patches = batch.reshape(len(batch), 4, 16, 3, 16, 3).astype(np.float32)
  means = patches.mean(axis=(2, 4, 5)) / 255
  return {"alpha": means[..., None] * params["gain"]}


def direct(source) -> float:
  """The mean error, image by image, written out."""
  total, count = 0.0, 0
  for record in source.found:
    labels = decode_labels(record.labels)
    image = images.decode_image(record.image)
    prepared = TASK.preprocess(image, labels)
    maps = []
    for one in prepared:
      out = apply_fn({"calls": 0, "gain": 2.0}, one.image[None])["alpha"][0]
      maps.append(out[:, ::-1, 0] if one.context else out[..., 0])
    error = np.abs(np.mean(maps, axis=0) - TASK.target(labels.alpha))
    total, count = total + error.sum(), count + error.size
  return total / count


@pytest.mark.parametrize("batch_size", [1, 4, 5, 64])
def test_numbers_are_those_of_a_direct_computation(batch_size):
  source, params = records(7), {"calls": 0, "gain": 2.0}
  done = []
  found = evaluate(
    TASK,
    apply_fn,
    params,
    source,
    batch_size=batch_size,
    on_progress=done.append,
  )
  np.testing.assert_allclose(found["mae"], direct(source), rtol=1e-6)
  assert (found["images"], found["skipped"]) == (7, 0)
  inputs = sum(
    len(TASK.preprocess(images.decode_image(r.image), None))
    for r in source.found
  )
  assert inputs > 7  # Some images have two.
  assert params["calls"] == -(-inputs // batch_size)
  assert done == list(range(1, 8))


def test_the_first_images_are_taken():
  source, params = records(7), {"calls": 0, "gain": 2.0}
  found = evaluate(TASK, apply_fn, params, source, batch_size=4, num_images=3)
  np.testing.assert_allclose(
    found["mae"], direct(Source(source.found[:3])), rtol=1e-6
  )


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_first_that_can_be_used_are_shown(batch_size):
  source = records(6, labelled=lambda number: number != 1)
  params, shown = {"calls": 0, "gain": 1.0}, []
  evaluate(
    TASK,
    apply_fn,
    params,
    source,
    batch_size=batch_size,
    num_shown=3,
    on_shown=lambda *given: shown.append(given),
  )
  used = [source.found[number] for number in (0, 2, 3)]
  assert len(shown) == len(used)
  for (image, prediction, labels), record in zip(shown, used):
    np.testing.assert_array_equal(image, images.decode_image(record.image))
    expected = decode_labels(record.labels).alpha
    np.testing.assert_array_equal(labels.alpha, expected)
    drawn = side_by_side(TASK, image, prediction, labels)
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
    # The image itself is on the left, enlarged by a whole number.
    scale = drawn.shape[0] // image.shape[0]
    left = drawn[::scale, : image.shape[1] * scale : scale]
    np.testing.assert_array_equal(left, image)
    assert drawn.shape[1] % (image.shape[1] * scale) == 0


def test_images_without_labels_are_counted():
  source = records(5, labelled=lambda number: number != 2)
  found = evaluate(
    TASK, apply_fn, {"calls": 0, "gain": 1.0}, source, batch_size=4
  )
  assert (found["images"], found["skipped"]) == (4, 1)


def test_a_set_without_labels_is_an_error():
  source = records(3, labelled=lambda number: False)
  with pytest.raises(ValueError, match="none of 3 images .*: 3 no labels"):
    evaluate(TASK, apply_fn, {"calls": 0, "gain": 1.0}, source, batch_size=4)
