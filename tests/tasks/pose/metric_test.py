import numpy as np
import pytest

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.tasks.pose import keypoint_sets
from sapiens2_jax.tasks.pose.metric import KeypointMetric

KNOWN = keypoint_sets.make("")
GROUPS = vocabulary.keypoints()["groups"]


def draw_people(rng, num_people, num_keypoints=308):
  people = []
  for i in range(num_people):
    places = rng.uniform(0, 200, (num_keypoints, 2)) + 300 * i
    keypoints = np.column_stack([places, np.full(num_keypoints, 2)])
    box = (300.0 * i, 300.0 * i, 200.0, 150.0)
    people.append(Person(box, keypoints.astype(np.float32)))
  return Labels(people=tuple(people))


def predict(labels, score=0.9):
  keypoints = np.stack([person.keypoints for person in labels.people])
  keypoints[..., 2] = score
  return keypoints


def test_perfect_predictions_reach_a_hundred_in_every_set():
  labels = draw_people(np.random.default_rng(0), 2)
  metric = KeypointMetric(KNOWN)
  metric.add(predict(labels), labels)
  result = metric.result()
  for name in (
    "AP",
    "AR",
    "AP75",
    "AP_L",
    "PCK",
    *(f"{n}_AP" for n in KNOWN.groups),
  ):
    assert result[name] == pytest.approx(100), name


def test_a_set_sees_its_own_keypoints_only():
  labels = draw_people(np.random.default_rng(0), 2)
  prediction = predict(labels)
  prediction[:, GROUPS["foot6"], :2] += 150
  metric = KeypointMetric(KNOWN)
  metric.add(prediction, labels)
  result = metric.result()
  assert result["foot_AP"] == 0
  assert result["body_AP"] == pytest.approx(100)
  assert result["PCK"] == pytest.approx(100 * 302 / 308)


def test_pck_counts_a_tenth_of_the_longer_side():
  labels = draw_people(np.random.default_rng(0), 1)
  prediction = predict(labels)
  prediction[0, :100, 0] += 19.9
  prediction[0, 100:, 0] += 20.1  # of 200
  metric = KeypointMetric(KNOWN)
  metric.add(prediction, labels)
  assert metric.result()["PCK"] == pytest.approx(100 * 100 / 308)


def test_people_of_coco_are_judged_by_their_seventeen_keypoints():
  rng = np.random.default_rng(0)
  labels = draw_people(rng, 1, num_keypoints=17)
  prediction = rng.uniform(0, 200, (1, 308, 3)).astype(np.float32)
  prediction[0, GROUPS["body17"], :2] = labels.people[0].keypoints[:, :2]
  metric = KeypointMetric(KNOWN)
  metric.add(prediction, KNOWN.relabel(labels))
  result = metric.result()
  assert result["AP"] == result["body_AP"] == pytest.approx(100)
  assert np.isnan(result["face_AP"])
  assert result["PCK"] == 100


def test_two_predictions_of_the_same_count_once():
  labels = draw_people(np.random.default_rng(0), 2)
  prediction = predict(labels)
  prediction[1] = prediction[0]
  metric = KeypointMetric(KNOWN)
  metric.add(prediction, labels)
  result = metric.result()
  assert result["AR"] == pytest.approx(50)
  assert result["AP50"] == pytest.approx(100 * 51 / 101)  # recalls 0 to 0.5


def test_a_set_without_people_has_no_numbers():
  metric = KeypointMetric(KNOWN)
  metric.add(np.zeros((0, 308, 3), np.float32), Labels(people=()))
  assert all(np.isnan(value) for value in metric.result().values())


def test_labels_must_have_people_and_as_many_as_predicted():
  metric = KeypointMetric(KNOWN)
  with pytest.raises(ValueError, match="labels have no people"):
    metric.add(np.zeros((0, 308, 3)), Labels())
  labels = draw_people(np.random.default_rng(0), 2)
  with pytest.raises(ValueError, match="of 1 people, expected 2"):
    metric.add(predict(labels)[:1], labels)


def test_people_of_labels_have_all_keypoints_of_the_set():
  labels = draw_people(np.random.default_rng(0), 1, num_keypoints=133)
  with pytest.raises(
    ValueError, match="people have 133 keypoints, expected 308"
  ):
    KeypointMetric(KNOWN).add(np.zeros((1, 308, 3)), labels)
