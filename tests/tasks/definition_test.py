"""What definitions say of labels and predictions."""

import numpy as np
import pytest

from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.tasks import make_task, registry
from sapiens2_jax.tasks.albedo.task import Albedo
from sapiens2_jax.tasks.pointmap.task import Points
from tests.tasks import samples
from tests.tasks.task_configs import load_task_config


@pytest.mark.parametrize("name", ["normal", "pointmap", "albedo", "matting"])
def test_truth_is_a_prediction_without_error(name):
  image, labels = samples.ball()
  task = samples.make_task(name)
  truth = registry.definition(name).truth(image, labels)
  drawn = task.draw(image, truth)
  assert drawn.shape == image.shape and drawn.dtype == np.uint8
  metric = task.metric()
  if name == "pointmap":
    np.testing.assert_allclose(
      truth.points[labels.mask], labels.pointmap()[labels.mask], rtol=1e-5
    )
    return
  metric.add(truth, labels)
  error = {"normal": "mean", "albedo": "mae", "matting": "mad"}[name]
  assert metric.result()[error] == pytest.approx(0, abs=0.1)


def test_truth_of_people_and_parts():
  keypoints = np.zeros((17, 3), np.float32)
  keypoints[0] = 3, 4, 2
  parts = np.full((5, 6), 7, np.uint8)
  labels = Labels(people=(Person((0, 0, 5, 6), keypoints),), parts=parts)
  labels = make_task(load_task_config("pose", "toy")).relabel(labels)
  people = registry.definition("pose").truth(None, labels)
  assert people.shape == (1, 308, 3) and people[0, :, 2].sum() == 1
  np.testing.assert_array_equal(people[0, 0], (3, 4, 1))
  assert registry.definition("segmentation").truth(None, labels) is parts


def test_around_people_nothing_is_shown():
  _, labels = samples.ball()
  ones = np.ones((*labels.alpha.shape, 3), np.float32)
  shown = registry.definition("normal").mask(ones, labels)
  np.testing.assert_array_equal(shown.any(-1), labels.mask)
  shown = registry.definition("albedo").mask(Albedo(ones, ones), labels)
  np.testing.assert_array_equal(shown.picture.any(-1), labels.mask)
  assert registry.definition("segmentation").mask is None
  points = Points(ones * 9, ones, 1.0)
  points.points[labels.mask] = 2
  shown = registry.definition("pointmap").mask(points, labels)
  assert shown.points[..., 2].max() == 2
