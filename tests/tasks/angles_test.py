import numpy as np
import pytest

from sapiens2_jax.tasks.angles import AngleStatistics, angles_between


def test_angles_do_not_depend_on_length():
  given = np.float32([[3, 0, 0], [0, 2, 0], [1, 1, 0]])
  found = angles_between(given, np.float32([[5, 0, 0], [0, -1, 0], [0, 9, 0]]))
  np.testing.assert_allclose(found, [0, 180, 45], atol=1e-5)
  assert angles_between(0 * given[:1], given[:1]) == 90


def test_statistics_are_those_of_all_angles_together():
  angles = np.random.default_rng(0).uniform(0, 60, 1001)
  statistics = AngleStatistics()
  for part in np.split(angles, [10, 700]):
    statistics.add(part)
  assert statistics.count == 1001
  np.testing.assert_allclose(statistics.mean(), angles.mean())
  np.testing.assert_allclose(statistics.rmse(), np.sqrt(np.mean(angles**2)))
  assert abs(statistics.median() - np.median(angles)) <= 0.25
  for limit, share in statistics.within().items():
    degrees = float(limit.removeprefix("within_"))
    assert share == np.mean(angles < degrees)
  assert list(statistics.within()) == [
    "within_5",
    "within_11.25",
    "within_22.5",
    "within_30",
  ]


def test_a_limit_itself_is_not_within():
  statistics = AngleStatistics()
  statistics.add(np.array([5.0, 4.999]))
  assert statistics.within()["within_5"] == 0.5


@pytest.mark.parametrize(("angle", "median"), [(0, 0.25), (180, 179.75)])
def test_median_is_the_centre_of_a_bin(angle, median):
  statistics = AngleStatistics()
  statistics.add(np.full(3, float(angle)))
  assert statistics.median() == median
