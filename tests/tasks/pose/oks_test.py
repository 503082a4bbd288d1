import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines import vocabulary
from sapiens2_jax.tasks.pose import oks
from tests.tasks.pose import oks_reference

KNOWN = vocabulary.keypoints()
SIGMAS = np.array(KNOWN["sigmas"])[KNOWN["groups"]["body17"]]


def draw_image(rng):
  """People of all sizes, some without labels; detections near and far."""
  num_people = rng.integers(0, 5)
  sides = np.exp(rng.uniform(np.log(15), np.log(300), (num_people, 2)))
  boxes = np.concatenate([rng.uniform(0, 400, (num_people, 2)), sides], axis=1)
  inside = rng.uniform(0, 1, (num_people, 17, 2))
  places = boxes[:, None, 1::-1] + inside * boxes[:, None, :1:-1]
  visible = rng.integers(0, 3, (num_people, 17, 1))
  visible[rng.random(num_people) < 0.2] = 0
  keypoints = np.concatenate([places, visible], axis=-1)
  areas = 0.6 * boxes[:, 2] * boxes[:, 3]
  truth = oks.Truth(keypoints, areas, boxes)
  found = [
    place + rng.normal(0, rng.choice([0.01, 0.04, 0.15]), (17, 2)) * side[::-1]
    for place, side in zip(places, sides)
    for _ in range(rng.integers(0, 4))
  ]
  found += [
    rng.uniform(0, 400, 2) + rng.uniform(0, np.exp(rng.uniform(2, 5)), (17, 2))
    for _ in range(rng.integers(0, 12))
  ]
  found = np.array(found).reshape(-1, 17, 2)
  # Few values, so that there are ties.
  return truth, found, rng.integers(0, 9, len(found)) / 10


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_numbers_are_those_of_the_rules(seed, num_images):
  rng = np.random.default_rng(seed)
  metrics = oks.KeypointAP(SIGMAS), oks_reference.KeypointAP(SIGMAS)
  for _ in range(num_images):
    truth, found, scores = draw_image(rng)
    for metric in metrics:
      metric.add(found, scores, truth)
  ours, expected = (metric.result() for metric in metrics)
  assert list(ours) == oks.NAMES
  for name, value in expected.items():
    np.testing.assert_allclose(ours[name], value, atol=1e-6, err_msg=name)


def test_all_308_keypoints_and_ties_are_counted_by_the_same_rules():
  rng = np.random.default_rng(0)
  sigmas = np.array(KNOWN["sigmas"])
  metrics = oks.KeypointAP(sigmas), oks_reference.KeypointAP(sigmas)
  for _ in range(3):
    sides = rng.uniform(40, 300, (3, 2))
    boxes = np.concatenate([rng.uniform(0, 200, (3, 2)), sides], axis=1)
    places = boxes[:, None, 1::-1] + rng.uniform(
      0, sides[:, None, ::-1], (3, 308, 2)
    )
    visible = rng.integers(0, 3, (3, 308, 1))
    keypoints = np.concatenate([places, visible], axis=-1)
    truth = oks.Truth(keypoints, 0.53 * sides.prod(axis=1), boxes)
    found = places + rng.normal(0, 0.01, (3, 308, 2)) * sides[:, None, ::-1]
    for metric in metrics:
      metric.add(found, np.array([0.5, 0.5, 0.9]), truth)
  ours, expected = (metric.result() for metric in metrics)
  assert 0 < ours["AP"] < 1
  for name, value in expected.items():
    np.testing.assert_allclose(ours[name], value, atol=1e-6, err_msg=name)


def one_person(keypoints, area=100.0):
  return oks.Truth(
    keypoints[None], np.array([area]), np.array([[0.0, 0.0, 20.0, 10.0]])
  )


def test_similarity_is_what_its_formula_says():
  keypoints = np.array([[3.0, 4, 2], [5, 5, 0], [9, 9, 1]])
  points = np.array([[[3.0, 6], [0, 0], [9, 9]]])
  truth = one_person(keypoints, 2000.0)
  sigma = 0.1 / np.sqrt(20)
  expected = (np.exp(-(2**2) / (2 * 100 * 0.2**2)) + 1) / 2  # 0.80
  metric = oks.KeypointAP(np.full(3, sigma))
  metric.add(points, np.ones(1), truth)
  result = metric.result()
  assert result["AR"] == np.mean(np.linspace(0.5, 0.95, 10) <= expected) == 0.7
  assert result["AP50"] == pytest.approx(1) and result["AR75"] == 1


def test_perfect_predictions_reach_one():
  rng = np.random.default_rng(0)
  keypoints = np.concatenate(
    [rng.uniform(0, 200, (3, 17, 2)), np.full((3, 17, 1), 2)], axis=-1
  )
  boxes = np.array([[0.0, 0, 200, 200]] * 3)
  truth = oks.Truth(keypoints, np.full(3, 200.0**2), boxes)
  metric = oks.KeypointAP(SIGMAS)
  metric.add(keypoints[..., :2], np.ones(3), truth)
  result = metric.result()
  assert result["AP"] == result["AR_L"] == pytest.approx(1)
  assert np.isnan(result["AP_M"])


def test_people_whom_nobody_found_count_as_missed():
  metric = oks.KeypointAP(SIGMAS)
  keypoints = np.ones((17, 3))
  metric.add(np.zeros((0, 17, 2)), np.zeros(0), one_person(keypoints, 2000.0))
  result = metric.result()
  assert result["AP"] == result["AR"] == result["AR_M"] == 0


def test_suppression_keeps_the_better_of_two_alike():
  rng = np.random.default_rng(0)
  first, other = rng.uniform(0, 100, (2, 17, 2))
  points = np.stack([first, other, first + 0.1])
  kept = oks.suppress(points, np.array([0.5, 0.4, 0.6]), SIGMAS)
  assert kept.tolist() == [2, 1]
  assert oks.suppress(points[:0], np.zeros(0), SIGMAS).tolist() == []


def test_a_person_scores_the_mean_of_sure_keypoints():
  scores = np.array([[0.1, 0.5, 0.9], [0.1, 0.2, 0.0]])
  np.testing.assert_allclose(oks.instance_scores(scores), [0.7, 0])


def test_another_number_of_keypoints_is_an_error():
  metric = oks.KeypointAP(SIGMAS)
  truth = one_person(np.ones((17, 3)))
  with pytest.raises(ValueError, match="16 points a person, expected 17"):
    metric.add(np.ones((1, 16, 2)), np.ones(1), truth)
  truth = one_person(np.ones((15, 3)))
  with pytest.raises(ValueError, match="15 keypoints a person, expected 17"):
    metric.add(np.ones((1, 17, 2)), np.ones(1), truth)
