import numpy as np

from sapiens2_jax.pretrain.report import photographs


def test_center_box_is_the_largest_of_its_aspect():
  np.testing.assert_allclose(
    photographs.center_box(100, 200, 0.75), [0, 62.5, 100, 75]
  )
  np.testing.assert_allclose(
    photographs.center_box(200, 90, 0.75), [40, 0, 120, 90]
  )


def test_center_is_cut_without_distortion():
  pixels = np.zeros((40, 80, 3), np.uint8)
  pixels[:, 25:55] = 200
  photograph = photographs.Photograph(0, pixels, (40, 80))
  assert np.all(photographs.cut_center(photograph, (40, 30)) == 200)
