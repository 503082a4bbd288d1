"""Predictions of tiny models, what they write, and files of boxes."""

import json

import jax
import numpy as np
from PIL import Image

from data_pipelines.annotated import boxes
from sapiens2_jax.interop.load import load_task
from sapiens2_jax.prediction import inputs, run
from sapiens2_jax.training.step import jit_spread
from tests.prediction import models


def predict(
  task, tmp_path, folder, people=None, devices=1, parts=None, **given
):
  """Returns the output, what was predicted, the model and its parameters."""
  model, params = load_task(models.write_model(tmp_path / "model", task))
  output = tmp_path / "out"

  def know(name, image):
    if callable(people):
      return people(name, image)
    return (people or {}).get(name) or inputs.whole_image(image.shape[:2])

  found = run.predict_images(
    jit_spread(model.predict, params, 2, jax.devices()[:devices]),
    inputs.open_images(folder, output),
    know,
    models.make_output(task, model.task, **given),
    output,
    parts,
  )
  return output, found, model, params


def read(path):
  if path.suffix == ".npy":
    return np.load(path)
  if path.suffix == ".json":
    return json.loads(path.read_text())
  return np.asarray(Image.open(path))


def boxes_file(path, *annotations, name="wide.jpg"):
  given = {
    "images": [{"id": 7, "file_name": name}],
    "annotations": list(annotations),
  }
  path.write_text(json.dumps(given))
  return path


def read_people(path, names):
  found = boxes.read_boxes(str(path), names).boxes
  return {name: inputs.make_people(listed) for name, listed in found.items()}
