"""Fits of scores, on evidence of which one knows what tells."""

import numpy as np

from data_pipelines.curation.photographs import fitting, train_render


def test_a_fit_finds_the_evidence_that_tells():
  rng = np.random.default_rng(0)
  evidence = rng.random((200, 4))
  is_person = evidence[:, 1] > 0.6
  weights = fitting.fit(evidence, is_person, 0.1)
  assert weights[1] > 5 * np.abs(weights[[0, 2, 3]]).max()
  slope = evidence @ weights[:4] + weights[4]
  assert np.mean((slope > 0) == is_person) > 0.95


def test_units_of_the_evidence_do_not_matter_where_it_is_scaled():
  rng = np.random.default_rng(1)
  evidence = rng.random((100, 3))
  is_positive = evidence.sum(axis=1) > rng.uniform(1, 2, 100)
  other = evidence * [1000, 0.01, 1] + [5, 0, -3]
  one, two = (
    np.c_[values, np.ones(100)] @ fitting.fit_scaled(values, is_positive, 1)
    for values in (evidence, other)
  )
  np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_an_area_under_the_curve_by_hand():
  scores = np.array([0.9, 0.5, 0.5, 0.1])
  is_positive = np.array([True, False, True, False])
  # Of four pairs three are in order, one is a tie.
  assert fitting.area_under_curve(scores, is_positive) == 3.5 / 4


def test_a_variant_is_smaller_and_the_same_by_seed():
  noise = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
  made = train_render.compress(noise, 300, 60)
  assert made.shape == (150, 300, 3)
  once, again = (
    train_render.vary(noise, np.random.default_rng(3)) for _ in range(2)
  )
  np.testing.assert_array_equal(once, again)
  other = train_render.vary(noise, np.random.default_rng(4))
  assert once.shape != other.shape


def test_a_fit_sees_images_and_their_variants():
  rng = np.random.default_rng(0)
  is_photo = np.arange(60) % 2 == 0
  plain = np.c_[is_photo * 1.0, is_photo * 1.0] + rng.normal(0, 0.1, (60, 2))
  varied = plain.copy()
  varied[:, 0] = rng.normal(0, 0.1, 60)  # What compression takes away.
  weights = train_render.fit_twice(plain, varied, is_photo)
  assert weights[1] > 2 * weights[0] > 0
