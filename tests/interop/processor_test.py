"""Test-time inputs and outputs beside those of transformers' processor.

The tolerances of inputs are of other interpolation: OpenCV's on uint8 here;
there antialiased or bicubic in float. Outputs agree but for rounding.
"""

import pathlib

import numpy as np
import pytest

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax import tasks
from sapiens2_jax.tasks.angles import angles_between
from tests.interop import processor_inputs as inputs
from tests.interop import runs

GOLDENS = np.load(pathlib.Path(__file__).parent / "data" / "processor.npz")
NUMBERS = range(len(inputs.SIZES))


def _task(name):
  config = runs.task_config(name)
  config.data.image_size = inputs.INPUT
  return tasks.make_task(config)


def _labels(number):
  keypoints = np.zeros((308, 3), np.float32)
  boxes = inputs.BOXES[number]
  return Labels(people=tuple(Person(box, keypoints) for box in boxes))


def _prepare(task, number):
  image = inputs.image(inputs.SIZES[number])
  # Their processor cuts out people for pose alone.
  labels = _labels(number) if "people" in task.needs else None
  return task.preprocess(image, labels)


def _levels(prepared):
  return prepared.image[::4, ::4].astype(np.float32)


def _differences(name, number):
  prepared = _prepare(_task(name), number)[0]
  golden = GOLDENS[f"{name}.prepare.{number}"]
  return np.abs(_levels(prepared) - golden)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
  ("name", "mean", "most"),
  [
    ("segmentation", 1.0, 6.0),
    ("normal", 0.5, 4.0),
  ],
)
def test_whole_images_differ_by_interpolation_alone(name, mean, most, number):
  difference = _differences(name, number)
  print(name, number, difference.mean(), difference.max())
  assert difference.mean() < mean and difference.max() < most


@pytest.mark.parametrize("number", NUMBERS)
def test_letterboxes_lie_on_the_same_pixels(number):
  prepared = _levels(_prepare(_task("normal"), number)[0])
  golden = GOLDENS[f"normal.prepare.{number}"]
  is_black = np.abs(golden).max(axis=-1) < 0.5
  assert is_black.any()
  np.testing.assert_array_equal(prepared.max(axis=-1) == 0, is_black)


@pytest.mark.parametrize("number", NUMBERS)
def test_crops_of_people_differ_by_interpolation_alone(number):
  prepared = _prepare(_task("pose"), number)[::2]  # without mirror images
  golden = GOLDENS[f"pose.prepare.{number}"]
  found = np.stack([_levels(one) for one in prepared])
  difference = np.abs(found - golden).max(axis=-1)
  print(number, difference.mean(), difference.max())
  assert difference.mean() < 0.5 and difference.max() < 2


@pytest.mark.parametrize("number", NUMBERS)
def test_normals_by_target_sizes_alone_keep_the_black_border(number):
  """Why model cards give source_sizes, as docs/weights.md says."""
  right = GOLDENS[f"normal.finish.{number}"]
  wrong = GOLDENS[f"normal by target.finish.{number}"]
  degrees = angles_between(wrong.reshape(-1, 3), right.reshape(-1, 3))
  print(number, degrees.mean(), degrees.max())
  assert right.shape == wrong.shape and degrees.mean() > 10


@pytest.mark.parametrize("number", NUMBERS)
def test_keypoints_are_found_at_the_same_places(number):
  task = _task("pose")
  prepared = _prepare(task, number)
  heatmaps = inputs.outputs("pose")["heatmaps"]
  order = vocabulary.keypoints()["flip_indices"]
  mirrored = np.roll(heatmaps, 1, axis=1)[:, ::-1][..., order]
  outputs = [{"heatmaps": heatmaps}, {"heatmaps": mirrored}] * 2
  people = task.postprocess(outputs, prepared)
  golden = GOLDENS[f"pose.finish.{number}"]
  assert people.shape == golden.shape == (2, 308, 3)
  difference = np.abs(people - golden)
  print(number, difference[..., :2].max(), difference[..., 2].max())
  assert difference[..., :2].max() < 1e-3  # pixels of the image
  assert difference[..., 2].max() < 1e-6


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
  "name", ["segmentation", "normal", "matting", "pointmap"]
)
def test_outputs_come_back_to_the_image_alike(name, number):
  task, size = _task(name), inputs.SIZES[number]
  found = task.postprocess([inputs.outputs(name)], _prepare(task, number))
  golden = GOLDENS[f"{name}.finish.{number}"]
  if name == "segmentation":
    assert found.shape == golden.shape == size
    assert np.mean(found != golden) < 1e-3  # equal logits, but for rounding
    return
  found = getattr(found, "points", found)
  assert found.shape[:2] == size
  difference = np.abs(found[::6, ::6] - golden)
  print(name, number, difference.mean(), difference.max())
  if name == "pointmap" and number > 0:
    # We smooth enlarged pointmaps, as the reference does.
    assert difference.mean() < 0.02
    assert difference[1:-1, 1:-1].max() < 0.05  # not where it mirrors
  else:
    assert difference.max() < 1e-5
