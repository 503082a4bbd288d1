import numpy as np

from data_pipelines import vocabulary
from sapiens2_jax.tasks.segmentation import class_sets
from sapiens2_jax.tasks.segmentation.drawing import draw_parts

COLORS = class_sets.make("").colors

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)


def test_parts_mix_the_palette_with_the_image():
  parts = np.zeros(IMAGE.shape[:2], np.uint8)
  parts[20:80, 60:200] = 3
  picture = draw_parts(IMAGE, parts, COLORS)
  np.testing.assert_array_equal(picture[parts == 0], IMAGE[parts == 0])
  color = np.array(vocabulary.parts()["palette_rgb"][3])
  expected = (IMAGE[40, 110].astype(int) + color) / 2
  np.testing.assert_allclose(picture[40, 110], expected, atol=1)


def test_a_mirrored_image_can_be_drawn_on():
  mirrored = IMAGE[:, ::-1]  # not contiguous
  parts = np.ones(IMAGE.shape[:2], np.uint8)
  assert draw_parts(mirrored, parts, COLORS).shape == IMAGE.shape
