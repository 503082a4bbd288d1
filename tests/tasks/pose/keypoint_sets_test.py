import json

import numpy as np
import pytest

from data_pipelines import vocabulary
from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.tasks import UnusableExample, make_task
from sapiens2_jax.tasks.pose import augment, keypoint_sets
from tests.tasks import samples

KNOWN = vocabulary.keypoints()
BODY17 = [KNOWN["names"][i] for i in KNOWN["groups"]["body17"]]
# COCO's seventeen from the feet to the head.
FEET_FIRST = json.dumps({"names": BODY17[::-1]})
OWN = json.dumps(
  {
    "names": ["tail", "paw_l", "paw_r"],
    "middle": ["tail"],
    "sigmas": {"tail": 0.1, "paw_l": 0.05, "paw_r": 0.05},
    "skeleton": [["tail", "paw_l"]],
  }
)
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)


def people(count):
  rng = np.random.default_rng(1)
  places = rng.uniform(10, 80, (count, 2))
  found = np.column_stack([places, np.full(count, 2)]).astype(np.float32)
  return Labels(people=(Person((5, 5, 100, 80), found, 900.0),))


def make(content):
  return keypoint_sets.make(keypoint_sets.resolve(content))


def make_toy(content, **task):
  config = samples.load_config("pose")
  config.head.upsample_channels = (8, 8)
  config.task.update(keypoints=content, **task)
  return make_task(config)


@pytest.mark.parametrize("count", [308, 17])
def test_labels_get_the_order_of_the_names(count):
  labels = people(count)
  before = labels.people[0].keypoints
  names = KNOWN["names"] if count == 308 else BODY17
  (person,) = make(FEET_FIRST).relabel(labels).people
  for name, found in zip(BODY17[::-1], person.keypoints):
    np.testing.assert_array_equal(found, before[names.index(name)])
  assert person.box == labels.people[0].box and person.area == 900


def test_of_seventeen_the_other_keypoints_are_not_labelled():
  (person,) = keypoint_sets.make("").relabel(people(17)).people
  assert person.keypoints.shape == (308, 3)
  assert np.count_nonzero(person.keypoints[:, 2]) == 17
  np.testing.assert_array_equal(
    person.keypoints[KNOWN["groups"]["body17"]], people(17).people[0].keypoints
  )


def test_another_number_of_keypoints_is_no_example():
  message = "17 keypoints, expected 3"
  with pytest.raises(UnusableExample, match=message):
    make(OWN).relabel(people(17))
  with pytest.raises(UnusableExample, match="has 3 keypoints, expected 308 or"):
    make(FEET_FIRST).relabel(people(3))
  kept = make(OWN).relabel(people(3))
  expected = people(3).people[0].keypoints
  np.testing.assert_array_equal(kept.people[0].keypoints, expected)


@pytest.mark.parametrize("content", [FEET_FIRST, OWN])
def test_a_mirror_image_moves_each_point_to_its_partner(content):
  known = make(content)
  points = np.zeros((len(known.names), 3), np.float32)
  points[:, 0] = range(10, 10 + len(points))
  points[:, 2] = 2
  _, flipped = augment.flip(IMAGE, points, known.flip_indices)
  for number, name in enumerate(known.names):
    sides = {"left": "right", "right": "left", "_l": "_r", "_r": "_l"}
    side = next((x for x in sides if x in name), None)
    partner = name.replace(side, sides[side]) if side else name
    source = points[known.names.index(partner)]
    assert flipped[number, 0] == 89 - source[0], name


def test_what_is_predicted_of_the_mirror_image_is_put_back():
  task = make_toy(FEET_FIRST)
  (one, mirrored) = task.preprocess(IMAGE, None)
  heatmaps = np.zeros((16, 12, 17), np.float32)
  for number in range(17):
    heatmaps[number % 14 + 1, number % 10 + 1, number] = 1
  partner = [
    BODY17[::-1].index(
      name.replace("left", "?").replace("right", "left").replace("?", "right")
    )
    for name in BODY17[::-1]
  ]
  # A network that is right of both: the left ear shows up as the right one.
  seen = heatmaps[:, ::-1, :][..., partner]
  outputs = [{"heatmaps": heatmaps}, {"heatmaps": seen}]
  alone = make_toy(FEET_FIRST, flip_test=False)
  expected = alone.postprocess(outputs[:1], [one])
  found = task.postprocess(outputs, [one, mirrored])
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_metric_and_pictures_are_of_these_keypoints():
  task = make_toy(OWN)
  labels = task.keypoints.relabel(people(3))
  prediction = np.stack([labels.people[0].keypoints])
  prediction[..., 2] = 0.9
  metric = task.metric()
  metric.add(prediction, labels)
  result = metric.result()
  assert result["AP"] == pytest.approx(100) and result["PCK"] == 100
  assert "body_AP" not in result
  picture = task.draw(IMAGE, prediction)
  x, y = np.rint(prediction[0, 0, :2]).astype(int)
  assert (picture[y, x] != IMAGE[y, x]).any()
  assert task.element_spec()["points"][0] == (3, 2)
  example = task.example(IMAGE, labels, np.random.default_rng(0))
  assert example["points"].shape == (3, 2)
