import numpy as np

from data_pipelines.synthetic import anatomy as anatomies
from data_pipelines.synthetic import skeleton


def _volume(points, triangles):
  a, b, c = np.moveaxis((points - points.mean(0))[triangles], 1, 0)
  return (np.cross(a, b) * c).sum() / 6


def test_every_vertex_has_weights_that_add_up_to_one(anatomy):
  assert len(anatomy.vertices) == 19158
  sums = np.add.reduceat(anatomy.weights, anatomy.weight_starts[:-1])
  assert np.diff(anatomy.weight_starts).min() >= 1
  np.testing.assert_allclose(sums, 1, atol=1e-5)
  assert anatomy.weight_bones.max() < len(skeleton.BONES)


def test_triangles_wind_outwards(anatomy):
  for name in ("body", "tights", "left_eye", "right_eye", "tongue"):
    volume = _volume(anatomy.vertices, anatomy.triangles[name])
    assert volume > 0, name
  people = _volume(anatomy.vertices, anatomy.triangles["body"])
  assert 0.04 < people < 0.12  # Cubic metres.


def test_left_is_where_x_is_positive(anatomy):
  left = anatomy.vertices[anatomy.triangles["left_eye"]]
  assert (left[..., 0] > 0).all()
  toes, heel = anatomy.vertices[:, 2].max(), anatomy.vertices[:, 2].min()
  assert toes > -heel  # It faces along z.


def test_the_second_time_it_is_read_from_the_cache(files, anatomy):
  again = anatomies.load_anatomy(files)
  assert again.targets == anatomy.targets
  np.testing.assert_array_equal(again.target_moves, anatomy.target_moves)
  assert not [p for p in files.directory.iterdir() if p.name.startswith("tmp")]
