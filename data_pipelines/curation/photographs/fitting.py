"""Logistic regression, and how well a score tells two kinds apart. Pure."""

from __future__ import annotations

import numpy as np


def fit(
  evidence: np.ndarray, is_positive: np.ndarray, ridge: float
) -> np.ndarray:
  """Weights of evidence: ridge logistic regression by Newton's method.

  Both classes weigh the same; the constant is not held back.

  Args:
    evidence: (n, k), of values of similar size.
    is_positive: (n,) bool.
    ridge: what the sum of squared weights costs, halved.

  Returns:
    (k + 1,) weights, the constant last.
  """
  given = np.c_[evidence, np.ones(len(evidence))]
  counts = np.where(is_positive, is_positive.sum(), (~is_positive).sum())
  sample = len(is_positive) / 2 / counts
  penalty = np.diag([ridge] * evidence.shape[1] + [0])
  weights = np.zeros(given.shape[1])
  for _ in range(50):
    made = 1 / (1 + np.exp(-np.clip(given @ weights, -30, 30)))
    slope = given.T @ (sample * (made - is_positive)) + penalty @ weights
    bend = (given.T * (sample * made * (1 - made))) @ given + penalty
    weights = weights - np.linalg.solve(bend, slope)
  return weights


def fit_scaled(
  evidence: np.ndarray, is_positive: np.ndarray, ridge: float
) -> np.ndarray:
  """As `fit`, of values of any size: the ridge sees them standardised."""
  mean, deviation = evidence.mean(axis=0), evidence.std(axis=0) + 1e-9
  weights = fit((evidence - mean) / deviation, is_positive, ridge)
  slopes = weights[:-1] / deviation
  return np.append(slopes, weights[-1] - slopes @ mean)


def area_under_curve(scores: np.ndarray, is_positive: np.ndarray) -> float:
  """That a positive scores above a negative; ties count half."""
  positives, negatives = scores[is_positive], scores[~is_positive]
  above = positives[:, None] > negatives
  equal = positives[:, None] == negatives
  return float(np.mean(above + 0.5 * equal))
