"""Own predictions against those for another photograph."""

import numpy as np
import pytest

from sapiens2_jax.tasks.base import ModelInput, Score
from sapiens2_jax.tasks.evaluate import predict
from sapiens2_jax.tasks.report.verdict import Comparison, WithOther

IMAGES = [np.full((2, 2, 3), level, np.uint8) for level in range(0, 100, 10)]


class MeanError:
  def __init__(self):
    self.errors = []

  def add(self, prediction, labels):
    self.errors.append(abs(prediction - labels))

  def result(self):
    return {"error": float(np.mean(self.errors))}


class Level:
  """Predicts the level of an image; the label is that level."""

  name = "level"
  metric = MeanError

  def element_spec(self):
    return {"image": ((2, 2, 3), np.uint8)}

  def preprocess(self, image, labels):
    return [ModelInput(image, labels)]

  def postprocess(self, outputs, inputs):
    return float(outputs[0]["level"])


def judge(network, images=IMAGES, higher=False):
  task, score = Level(), Score("error", "error of level", higher)
  comparison = Comparison(task, score)
  items = ((image, float(image[0, 0, 0])) for image in images)

  def apply(params, batch):
    return {"level": network(batch.astype(float).mean((1, 2, 3)))}

  for (own, other), label in predict(WithOther(task), apply, None, items, 4):
    comparison.add(own, other, label)
  return comparison.judge(1.5, len(images))


def test_a_network_that_sees_its_input_has_learned():
  verdict = judge(lambda levels: levels + 3)
  assert verdict.is_good
  assert "9 of 9 photographs fit their own prediction" in verdict.text
  # Off by the step of 10 between two images, and 3 back.
  measured = "error of level: 1.5 on 10 photographs, 7 if each gets another"
  assert measured in verdict.text


@pytest.mark.parametrize(
  "network", [lambda x: 0 * x + 45, lambda x: np.where(x % 20, x - 20, x + 20)]
)
def test_one_that_does_not_has_not(network):
  verdict = judge(network)
  assert verdict.is_good is False and "It has not learned" in verdict.text


def test_higher_may_be_better():
  assert judge(lambda levels: levels, higher=True).is_good is False


def test_of_few_photographs_nothing_is_said():
  verdict = judge(lambda levels: levels, IMAGES[:5])
  assert verdict.is_good is None and "Too few" in verdict.text
