import numpy as np
import pytest

from sapiens2_jax.tasks.albedo.metric import ColorMetric, ssim_map


def images(seed, size):
  rng = np.random.default_rng(seed)
  target = rng.random((*size, 3)).astype(np.float32)
  prediction = target + rng.normal(0, 0.1, target.shape).astype(np.float32)
  return prediction, target, rng.random(size) < 0.7


def slow_ssim(prediction, target, mask, row, col):
  """One window, summed pixel by pixel."""
  weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
  weights /= weights.sum()
  sums = np.zeros((6, 3))
  for i, a in enumerate(weights):
    for j, b in enumerate(weights):
      r, c = row + i - 5, col + j - 5
      if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c]:
        p = prediction[r, c].astype(float)
        t = target[r, c].astype(float)
        sums += a * b * np.stack([np.ones(3), p, t, p * p, t * t, p * t])
  share = sums[0, 0]
  _, p, t, pp, tt, pt = sums / share
  top = (2 * p * t + 1e-4) * (2 * (pt - p * t) + 9e-4)
  bottom = (p * p + t * t + 1e-4) * (pp - p * p + tt - t * t + 9e-4)
  return np.mean(top / (bottom + 1e-8)), share


def test_similarity_is_that_of_windows_summed_one_by_one():
  prediction, target, mask = images(0, (17, 21))
  found, is_covered = ssim_map(prediction, target, mask)
  for row, col in ((8, 10), (3, 17), (0, 0), (16, 9)):
    value, share = slow_ssim(prediction, target, mask, row, col)
    assert is_covered[row, col] == (share > 0.5)
    np.testing.assert_allclose(found[row, col], value, atol=1e-6)


def test_numbers_are_those_of_numpy_over_both_images():
  metric = ColorMetric()
  errors, steps, similar = [], [], []
  for seed, size in enumerate(((17, 21), (24, 13))):
    prediction, target, mask = images(seed, size)
    metric.add(prediction, target, mask)
    error = (prediction - target).astype(np.float64)
    errors.append(error[mask])
    for r, c in np.ndindex(size):
      for down, right in ((0, 1), (1, 0)):
        other = r + down, c + right
        if other[0] < size[0] and other[1] < size[1]:
          if mask[r, c] and mask[other]:
            steps.append(np.abs(error[other] - error[r, c]).mean())
    values, is_covered = ssim_map(prediction, target, mask)
    similar.append(values[is_covered])
  error = np.concatenate(errors)
  found = metric.result()
  np.testing.assert_allclose(found["mae"], np.abs(error).mean())
  np.testing.assert_allclose(found["rmse"], np.sqrt((error**2).mean()))
  np.testing.assert_allclose(found["psnr"], -10 * np.log10((error**2).mean()))
  np.testing.assert_allclose(found["gradient_l1"], np.mean(steps))
  np.testing.assert_allclose(found["ssim"], np.concatenate(similar).mean())


def test_what_lies_outside_the_mask_does_not_count():
  prediction, target, mask = images(0, (17, 21))
  changed = np.where(mask[..., None], prediction, 7)
  first, second = ColorMetric(), ColorMetric()
  first.add(prediction, target, mask)
  second.add(changed.astype(np.float32), target, mask)
  for name, value in first.result().items():
    assert second.result()[name] == pytest.approx(value, abs=1e-12), name


def test_the_target_itself_is_perfect():
  _, target, mask = images(0, (17, 21))
  metric = ColorMetric()
  metric.add(target, target, mask)
  found = metric.result()
  assert found["mae"] == found["gradient_l1"] == 0 and found["psnr"] == 120
  np.testing.assert_allclose(found["ssim"], 1, atol=1e-4)
