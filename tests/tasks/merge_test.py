"""Metrics of shares of a set, merged, are those of the set."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.corpus.labels import Labels, Person
from sapiens2_jax.tasks import make_task, registry
from sapiens2_jax.tasks.albedo.task import Albedo
from tests.tasks import samples
from tests.tasks.task_configs import load_task_config


def make_people(rng) -> tuple[Labels, np.ndarray]:
  people, found = [], []
  for _ in range(rng.integers(1, 4)):
    keypoints = np.concatenate(
      [rng.uniform(5, 60, (308, 2)), rng.integers(0, 3, (308, 1))], axis=1
    )
    people.append(Person((5.0, 5.0, 60.0, 55.0), keypoints.astype(np.float32)))
    noise = rng.normal(scale=2.0, size=(308, 2))
    scores = rng.uniform(0.1, 1, (308, 1))
    found.append(np.concatenate([keypoints[:, :2] + noise, scores], axis=1))
  return Labels(people=tuple(people)), np.stack(found).astype(np.float32)


def draw(name: str, number: int):
  """A prediction with errors, and labels."""
  rng = np.random.default_rng(number)
  if name == "pose":
    labels, prediction = make_people(rng)
    return prediction, labels
  if name == "segmentation":
    parts = rng.integers(0, 29, (8, 6), np.uint8)
    return np.where(parts > 20, 3, parts).astype(np.uint8), Labels(parts=parts)
  image, labels = samples.ball((90 + 5 * number, 60))
  labels = dataclasses.replace(labels, foreground=image if number else None)
  noise = rng.normal(scale=0.1, size=(*image.shape[:2], 4)).astype(np.float32)
  if name == "albedo":
    return Albedo(labels.albedo / 255 + noise[..., :3], image), labels
  if name == "pointmap":
    points = registry.definition(name).truth(image, labels)
    box = samples.make_task(name).letterbox(labels)[0]
    return dataclasses.replace(points, canonical=box + 0.1), labels
  if name == "normal":
    return labels.normal + noise[..., :3], labels
  return np.clip(noise + 0.5, 0, 1), labels


@pytest.mark.parametrize(
  "name", ["normal", "pointmap", "albedo", "matting", "segmentation", "pose"]
)
def test_shares_merged_are_the_whole(name):
  if name == "pose":
    task = make_task(load_task_config("pose", "toy"))
  else:
    task = samples.make_task(name)
  given = [draw(name, number) for number in range(5)]
  whole = task.metric()
  for one in given:
    whole.add(*one)
  merged = task.metric()
  # Also by one that has taken in nothing, and one that gives nothing.
  for share in (given[:2], [], given[2:4], given[4:]):
    other = task.metric()
    for one in share:
      other.add(*one)
    merged.merge(other)
  found, expected = merged.result(), whole.result()
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_allclose(found[key], value, rtol=1e-9, err_msg=key)
