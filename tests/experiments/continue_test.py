"""What follows from the number of images, and how a run begins."""

import numpy as np
import pytest

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.interop.parts import open_parts
from tests import tiny
from tests.interop import samples

SPEC = "experiments/continue.py:"
TOO_MANY = 10**8


def load(argument: str):
  def check(config):
    return validation.validate(config, 1)

  return config_lib.load_config(SPEC + argument, [], check)


@pytest.mark.parametrize(
  ("images", "batch", "steps", "rate", "frozen"),
  [
    (300, 64, 2000, 3.54e-6, 200),
    (50_000, 256, 9766, 7.07e-6, 976),
    (1_000_000, 2048, 24_415, 2e-5, 1000),
    (TOO_MANY, 2048, 100_000, 2e-5, 1000),
  ],
)
def test_all_follows_from_the_images_and_is_said(
  capsys, images, batch, steps, rate, frozen
):
  config = load(f"size=0.4b,images={images}")
  optim = config.optim
  assert config.data.global_batch_size == batch
  assert (optim.num_steps, optim.freeze_encoder_steps) == (steps, frozen)
  np.testing.assert_allclose(optim.peak_lr, rate, rtol=2e-3)
  # The teacher forgets after as many images as in pretraining.
  left = config.objective.teacher_momentum ** (2048 / batch)
  np.testing.assert_allclose(left, 0.992, rtol=1e-6)
  said = capsys.readouterr().err
  assert f"rule       {images:,} images: batch {batch}, {steps:,} steps" in said


def test_a_run_of_pretraining_goes_on_at_once():
  config = load("size=0.4b,images=50000,start=run")
  optim = config.optim
  assert (optim.num_steps, optim.freeze_encoder_steps) == (9766, 0)
  assert config.model.init_parts == "run"
  assert load("size=0.4b").model.init_parts == "encoder"


def test_an_encoder_alone_is_no_run_that_goes_on(tmp_path):
  file = samples.write(
    tmp_path / "toy.safetensors", samples.arrays(samples.TOY)
  )
  config = tiny.load_config("model.size=toy", "model.init_parts=run")
  config.model.init_from = str(file)
  with pytest.raises(ValueError, match="toy.safetensors is no run"):
    open_parts(config)


@pytest.mark.parametrize(
  ("argument", "says"),
  [
    ("images=50k", "images=50k: expected how many there are"),
    ("images=0", "images=0: expected how many there are, at least 1"),
    ("start=workdir", "unknown start 'workdir'"),
  ],
)
def test_what_it_cannot_read_is_named(argument, says):
  with pytest.raises(config_lib.ConfigError, match=says):
    load(f"size=0.4b,{argument}")
