import numpy as np
import pytest

from data_pipelines.synthetic import mesh
from data_pipelines.synthetic import regions as body

SKIN = mesh.SURFACES.index("skin")
# One worker makes the people.
pytestmark = pytest.mark.xdist_group("bodies")


@pytest.fixture(scope="module")
def people(model):
  return [model.sample_person(np.random.default_rng(seed)) for seed in range(8)]


def test_the_same_seed_draws_the_same_person(model, people):
  again = model.sample_person(np.random.default_rng(3))
  for name, value in vars(people[3]).items():
    if isinstance(value, np.ndarray):
      np.testing.assert_array_equal(value, getattr(again, name), err_msg=name)
  assert again.traits == people[3].traits
  assert again.traits != people[4].traits


def test_meshes_are_whole(people):
  for person in people:
    size = len(person.vertices)
    for name in ("vertices", "normals", "rest", "uv"):
      value = getattr(person, name)
      assert value.dtype == np.float32 and len(value) == size, name
      assert np.isfinite(value).all(), name
    assert person.triangles.dtype == np.int32
    assert person.triangles.min() == 0 and person.triangles.max() == size - 1
    lengths = np.linalg.norm(person.normals, axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-4)
    assert 0 <= person.uv.min() and person.uv.max() <= 1
    assert person.keypoints.shape == (308, 3)


def test_people_stand_on_the_floor_and_are_of_human_size(people):
  for person in people:
    assert person.vertices[:, 1].min() == 0
    assert 0.8 < np.ptp(person.rest[:, 1]) < 2.2
    assert np.ptp(person.vertices, axis=0).max() < 2.6


def test_parts_and_surfaces_are_known_and_clothes_are_worn(people):
  for person in people:
    assert 1 <= person.parts.min() and person.parts.max() < len(body.PARTS)
    assert person.surfaces.max() < len(mesh.SURFACES)
    for name in ("Upper_Clothing", "Lower_Clothing", "Face_Neck", "Left_Hand"):
      assert (person.parts == body.PARTS[name]).any(), name


def test_triangles_wind_outwards(people):
  """Cloth goes around the body: seen from its middle it faces away."""
  for person in people:
    for name in ("top", "bottom"):
      own = person.triangles[person.surfaces == mesh.SURFACES.index(name)]
      a, b, c = np.moveaxis(person.rest[own].astype(np.float64), 1, 0)
      across = np.cross(b - a, c - a)
      away = (a + b + c) / 3
      away -= away.mean(0)
      assert (across * away).sum() > 0


def test_limbs_are_on_the_side_their_part_says(people):
  for person in people:
    middle = person.rest[person.triangles].mean(1)[:, 0]
    for name, part in body.PARTS.items():
      own = middle[person.parts == part]
      if name.startswith("Left_"):
        assert (own > 0).all(), name
      if name.startswith("Right_"):
        assert (own < 0).all(), name


def test_the_upper_lip_is_above_the_lower(people):
  for person in people:
    heights = [
      person.rest[person.triangles[person.parts == body.PARTS[name]]][..., 1]
      for name in ("Lower_Lip", "Upper_Lip")
    ]
    assert heights[0].mean() < heights[1].mean()


def test_no_skin_of_the_hips_is_in_the_mesh(people):
  hips = [body.PARTS["Torso"]]
  for person in people:
    is_torso = np.isin(person.parts, hips) & (person.surfaces == SKIN)
    shown = person.rest[person.triangles[is_torso]][..., 1]
    floor = person.rest[:, 1].min()
    stature = np.ptp(person.rest[:, 1])
    # What is left of the torso is at the collar and the arms' holes.
    assert (shown > floor + 0.6 * stature).all()
