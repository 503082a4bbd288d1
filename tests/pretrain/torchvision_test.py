"""Augmentation against torchvision, on two photographs.

The goldens are written by make_torchvision_goldens.py. Hue needs no exception
for its branches: where two of them meet they agree, and without chroma it has
no effect. Solarize jumps at its threshold: alone it gets 8-bit pixels, which
both sides compare exactly; within a chain the goldens have no pixel there.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.pretrain import image_ops as ops
from sapiens2_jax.pretrain.photometric import Photometric, apply_photometric

PATH = pathlib.Path(__file__).parent / "data" / "torchvision.npz"
GOLDEN = dict(np.load(PATH))
PIXELS = jnp.asarray(GOLDEN["photographs"], jnp.float32) / 255
# Both compute in float32; sums and factors are rounded in another order.
ATOL = 2e-6


def last(planes):
  return jnp.moveaxis(planes, -3, -1)


def normalize(planes):
  return jnp.moveaxis(pixel_lib.normalize(last(planes)), -1, -3)


def flip(planes, flipped):
  return jnp.moveaxis(ops.flip(last(planes), flipped), -1, -3)


OPERATIONS = {
  "flip": lambda x, _: flip(x, jnp.array(True)),
  "brightness": ops.adjust_brightness,
  "contrast": ops.adjust_contrast,
  "saturation": ops.adjust_saturation,
  "hue": ops.adjust_hue,
  "gray": lambda x, _: ops.luma(x)[None],
  "blur": ops.gaussian_blur,
  "solarize": lambda x, _: ops.solarize(x),
  "normalize": lambda x, _: normalize(x),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_agrees_with_torchvision(name):
  run = jax.jit(OPERATIONS[name])
  for (photograph, parameter), expected in zip(
    GOLDEN[f"{name}.cases"], GOLDEN[name]
  ):
    found = run(PIXELS[int(photograph)], jnp.float32(parameter))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)


def test_photographs_have_pixels_at_the_threshold_of_solarize():
  assert np.all(np.any(GOLDEN["photographs"] == 128, axis=(1, 2, 3)))
  assert np.all(np.any(GOLDEN["photographs"] == 127, axis=(1, 2, 3)))


@pytest.mark.parametrize("case", range(4))
def test_whole_chain_agrees_with_torchvision(case):
  photograph, flipped, *drawn = GOLDEN["chain.cases"][case]
  drawn = Photometric(
    *(
      jnp.array(value, bool if name.startswith("is_") else jnp.float32)
      for name, value in zip(Photometric._fields, drawn)
    )
  )

  @jax.jit
  def run(planes, flipped, drawn):
    return normalize(apply_photometric(flip(planes, flipped), drawn))

  found = run(PIXELS[int(photograph)], jnp.array(flipped, bool), drawn)
  # Normalised pixels: up to 4.5 times as large as those of one operation.
  np.testing.assert_allclose(
    found, GOLDEN["chain"][case], rtol=0, atol=4.5 * ATOL
  )
