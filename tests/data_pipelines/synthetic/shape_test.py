import numpy as np
import pytest

from data_pipelines.synthetic import shape


def _draw(count):
  return [
    shape.draw_traits(np.random.default_rng(seed)) for seed in range(count)
  ]


def test_both_sexes_and_all_ages_are_drawn_but_no_newborns():
  people = _draw(300)
  ages = np.array([person.age for person in people])
  assert shape.YOUNGEST <= ages.min() < 8
  assert 70 < ages.max() <= shape.OLDEST
  assert 0.4 < np.mean([person.is_female for person in people]) < 0.6
  for person in people:
    assert person.african + person.asian + person.caucasian == pytest.approx(1)


def test_fractions_of_ancestry_and_age_add_up(anatomy):
  for person in _draw(20):
    fractions = shape.mix_targets(person)
    assert fractions.keys() <= anatomy.targets.keys()
    whole = sum(
      fraction
      for name, fraction in fractions.items()
      if name.startswith(("macrodetails/a", "macrodetails/c"))
    )
    assert whole == pytest.approx(1, abs=0.01)


def test_minors_have_no_targets_of_grown_women():
  for person in _draw(300):
    names = shape.mix_targets(person)
    if person.age < shape.ADULT or not person.is_female:
      assert not [name for name in names if name.startswith("breast/")]


def test_people_grow_up(anatomy):
  def stature(age):
    person = shape.Traits(age, False, 0, 0, 1, 0.5, 0.5, 0.5, 0.5, 0.5)
    points = shape.make_shape(anatomy, shape.mix_targets(person))
    return np.ptp(points[anatomy.triangles["body"].reshape(-1), 1])

  assert 0.9 < stature(4) < 1.15
  assert 1.2 < stature(9) < 1.45
  assert 1.65 < stature(30) < 1.9


def test_a_target_moves_its_vertices_by_its_fraction(anatomy):
  name = "faceunits/jawOpen"
  target = anatomy.targets[name]
  one = slice(*anatomy.target_starts[target : target + 2])
  moved = shape.make_shape(anatomy, {name: 0.5}) - anatomy.vertices
  expected = np.zeros_like(moved)
  expected[anatomy.target_vertices[one]] = 0.5e-4 * anatomy.target_moves[one]
  np.testing.assert_allclose(moved, expected, atol=1e-6)
  assert moved[:, 1].min() < -0.005


def test_an_unknown_target_is_an_error_that_names_it(anatomy):
  with pytest.raises(ValueError, match="no such targets: nose/none"):
    shape.make_shape(anatomy, {"nose/none": 1.0})


def test_faces_and_local_changes_are_known_targets(anatomy):
  pairs = shape.find_local_changes(anatomy)
  assert len(pairs) > 100
  for seed in range(60):
    rng = np.random.default_rng(seed)
    fractions = {**shape.draw_face(rng), **shape.draw_local_changes(rng, pairs)}
    assert fractions.keys() <= anatomy.targets.keys()
    assert 0 <= min(fractions.values()) and max(fractions.values()) <= 1
