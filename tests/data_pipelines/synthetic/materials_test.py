"""Materials are colours, wherever they are looked at."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.synthetic import materials, patterns
from data_pipelines.synthetic.mesh import SURFACES
from tests.data_pipelines.synthetic import shapes

NOISE = materials.make_noise()
NO_EYES = np.zeros((1, 2, 3), np.float32)


def paint(name, place, eyes=NO_EYES, scale=0.05, slow=0.5):
  number = patterns.NAMES.index(name)
  place = tuple(np.float32(place))
  scale, slow = np.float32(scale), np.float32(slow)
  return patterns.paint(number, scale, place, slow, eyes, 0, NOISE)


@pytest.mark.parametrize("name", patterns.NAMES)
def test_patterns_mix_and_brighten_within_bounds(name):
  rng = np.random.default_rng(0)
  found = np.array(
    [
      paint(name, place, slow=rng.random())
      for place in rng.uniform(-2, 2, (500, 3))
    ]
  )
  assert found[:, 0].min() >= 0 and found[:, 0].max() <= 1
  assert found[:, 1].min() >= 0 and found[:, 1].max() <= 1.5
  if name not in ("plain", "eye"):
    assert np.ptp(found[:, 0]) > 0.3


def test_noise_is_smooth_and_periodic():
  y, z = np.float32([0.3, -0.7])
  places = np.arange(0, 64, 1 / 64, np.float32)
  at = [patterns.noise_at(NOISE, x, y, z) for x in places]
  assert np.abs(np.diff(at)).max() < 0.02
  np.testing.assert_allclose(at[:2048], at[2048:], atol=1e-6)
  corner = patterns.noise_at(NOISE, *np.float32([3, 5, -1]))
  assert corner == NOISE[3, 5, -1]


def test_an_eye_has_a_white_an_iris_and_a_pupil():
  eyes = np.float32([[[0.03, 1.6, 0.1], [-0.03, 1.6, 0.1]]])
  radius = 0.012
  for center in eyes[0]:
    white, iris, pupil = (
      paint("eye", center + radius * np.array([np.sin(a), 0, np.cos(a)]), eyes)
      for a in (0.8, 0.35, 0.05)
    )
    assert white == (0, 1)
    assert iris[0] == 1 and pupil == (1, np.float32(0.05))
    assert pupil[1] < iris[1]


def test_eyes_are_found_where_they_are():
  left = shapes.ball((0.03, 1.6, 0.1), 0.012, surface="eye")
  right = shapes.ball((-0.03, 1.6, 0.1), 0.012, surface="eye")
  both = dataclasses.replace(
    left,
    rest=np.concatenate([left.rest, right.rest]),
    triangles=np.concatenate(
      [left.triangles, right.triangles + len(left.rest)]
    ),
    surfaces=np.concatenate([left.surfaces, right.surfaces]),
  )
  drawn = materials.draw_materials(np.random.default_rng(0), both)
  expected = [(0.03, 1.6, 0.1), (-0.03, 1.6, 0.1)]
  np.testing.assert_allclose(drawn.eyes, expected, atol=1e-4)


def test_materials_are_colours_and_the_seed_decides():
  tones = []
  for seed in range(60):
    drawn = materials.draw_materials(np.random.default_rng(seed), shapes.ball())
    again = materials.draw_materials(np.random.default_rng(seed), shapes.ball())
    for field in dataclasses.fields(drawn):
      np.testing.assert_array_equal(
        getattr(drawn, field.name), getattr(again, field.name)
      )
    assert drawn.colors.shape == (len(SURFACES), 2, 3)
    assert drawn.colors.min() >= 0 and drawn.colors.max() <= 1
    tones.append(drawn.colors[SURFACES.index("skin"), 0])
  tones = np.array(tones)
  assert tones[:, 0].max() > 0.6 and tones[:, 0].min() < 0.1
  assert (tones[:, 0] > tones[:, 2]).all()  # Skin is warm.


def test_srgb_and_linear_light_undo_each_other():
  levels = np.arange(256)
  back = materials.to_srgb(materials.to_linear(levels))
  np.testing.assert_allclose(back, levels, atol=0.02)
