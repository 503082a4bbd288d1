"""The photo-or-render score, with what its network puts out given."""

import math

import numpy as np
import pytest

from data_pipelines.curation.scorers import render


def test_features_are_means_and_deviations_of_channels(monkeypatch):
  made = np.arange(24, dtype=np.float32).reshape(1, 4, 3, 2)
  seen = []
  scorer = render.RenderScorer()
  scorer._run = lambda given: seen.append(given) or [made]
  features = scorer.embed(np.full((20, 30, 3), 7, np.uint8))
  assert seen[0].shape == (1, 512, 512, 3) and seen[0].dtype == np.float32
  assert np.all(seen[0] == 7)
  deviation = np.arange(0, 24, 2).std()
  np.testing.assert_allclose(features, [11, 12, deviation, deviation])


def test_the_score_is_the_logistic_function_of_features(monkeypatch):
  monkeypatch.setattr(render, "_read_weights", lambda: (2.0, -1.0, 0.5))
  expected = 1 / (1 + math.exp(-(2 * 3 - 4 + 0.5)))
  assert render.combine(np.array([3.0, 4.0])) == pytest.approx(expected)


def test_the_weights_are_part_of_the_fingerprint(monkeypatch):
  before = render.RenderScorer().fingerprint()
  assert before == render.RenderScorer().fingerprint()
  monkeypatch.setattr(render, "_read_weights", lambda: (1.0,))
  assert render.RenderScorer().fingerprint() != before


def test_the_file_has_a_weight_for_each_channel_twice_and_a_constant():
  assert len(render._read_weights()) == 2 * 88 + 1
