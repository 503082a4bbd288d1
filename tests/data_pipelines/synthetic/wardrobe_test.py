import numpy as np
import pytest

from data_pipelines.synthetic import regions as body
from data_pipelines.synthetic import wardrobe


@pytest.fixture(scope="module")
def outfits(model):
  """Forty outfits: what they are, their pieces, the skin they hide."""
  made = []
  tailor = wardrobe.Wardrobe(model.anatomy, model.regions)
  for seed in range(40):
    rng = np.random.default_rng(seed)
    outfit = wardrobe.draw_outfit(rng, is_female=seed % 2 == 0)
    made.append((outfit, *tailor.make(outfit, rng)))
  return made


@pytest.fixture(scope="module")
def trunk(model):
  """Whether a vertex is of the chest, belly, back or hips."""
  where = model.regions
  return (where.arm < 0.1) & (where.down > -1.6) & (where.down < 0.05)


def _worn(pieces, *surfaces):
  """Vertices of the shell that cloth of these kinds covers."""
  worn = [
    piece.corners[piece.fractions[:, 0] == 1, 0]
    for piece in pieces
    if piece.surface in surfaces
  ]
  return np.concatenate(worn)


def test_nobody_has_a_bare_trunk_or_bare_hips(model, outfits, trunk):
  shell = np.unique(model.anatomy.triangles["tights"])
  shell = shell[trunk[shell]]
  for outfit, made, _ in outfits:
    assert np.isin(shell, _worn(made, "top", "bottom")).all(), outfit


def test_everyone_wears_a_top_and_something_below(outfits):
  for _, made, _ in outfits:
    for surface in ("top", "bottom"):
      size = sum(len(p.triangles) for p in made if p.surface == surface)
      assert size > 200, surface


def test_skin_is_left_out_only_under_cloth(model, outfits):
  points = model.anatomy.vertices
  shell = np.unique(model.anatomy.triangles["tights"])
  skin = np.unique(model.anatomy.triangles["body"])[::7]
  gaps = np.linalg.norm(points[skin, None] - points[shell][None], axis=-1)
  nearest = np.full(len(points), -1)
  nearest[skin] = shell[gaps.argmin(1)]
  for outfit, made, hidden in outfits:
    worn = _worn(made, "top", "bottom", "sock", "shoe")
    covered = np.isin(nearest[np.flatnonzero(hidden & (nearest >= 0))], worn)
    assert covered.mean() > 0.995, outfit


def test_trunk_skin_that_remains_is_at_a_collar(model, outfits, trunk):
  skin = model.anatomy.triangles["body"]
  inside = trunk[skin].all(1) & (model.regions.down[skin] < -0.1).all(1)
  for outfit, _, hidden in outfits:
    shown = inside & ~hidden[skin].all(1)
    assert shown.sum() < 0.04 * inside.sum(), outfit


def test_shoes_and_socks_are_on_the_side_their_part_says(model, outfits):
  seen = set()
  for _, made, _ in outfits:
    for piece in made:
      if piece.surface in ("shoe", "sock"):
        points = piece.mix(model.anatomy.vertices)[piece.triangles]
        name = piece.surface.title()
        left = piece.parts == body.PARTS[f"Left_{name}"]
        assert (points[left][..., 0] > 0).all()
        assert (points[~left][..., 0] < 0).all()
        seen.add(piece.surface)
  assert seen == {"shoe", "sock"}
