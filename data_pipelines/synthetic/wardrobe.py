"""Clothes, cut from MakeHuman's shell around the body and its skirt.

Everyone wears a top and something below that overlap, so that trunk and hips
are always covered. The skin under cloth is left out of the mesh.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.synthetic import anatomy as anatomies
from data_pipelines.synthetic import pieces
from data_pipelines.synthetic import regions as body

_UNDER = 0.12  # How far skin goes on under a hem; 1 is a thigh's length.
_COLLAR = 0.012  # Likewise at the neck, metres.
_SOLE = 0.012  # Metres above the ground up to which a shoe is sole.
_WAIST = -0.95  # Where trousers and skirts begin, down the trunk.
_OVERLAP = 0.13  # Of top and what is below it; more than `_UNDER`.
_NECKLINES = {"crew": 0.5, "scoop": 0.2, "vee": 0.2, "high": 0.1}
_LAYER = 0.005  # Metres between one piece of cloth and the next.
_WRINKLES = ((14.0,), (25.0,), (40.0,))  # Waves a metre, times 2 pi.


@dataclasses.dataclass(frozen=True)
class Outfit:
  """What somebody wears; lengths as in `regions.Regions`."""

  sleeve: float  # where sleeves end, along the arm; below 0 there are none
  hem: float  # where the top ends, down the trunk
  neckline: str  # shape of the collar: crew, scoop, vee, high
  looseness: float  # metres the top stands off the shell
  is_tucked: bool  # the top is under what is below
  leg: float  # where trousers or shorts end, down the leg
  flare: float  # metres trousers stand off at their hem
  skirt: float  # where the skirt ends; -1 for none
  is_dress: bool  # the skirt is one with the top; long shirts too
  sock: float  # up to where socks go, down the leg; 3 for none
  shoe: float  # likewise, of shoes
  sole: float  # metres; 0 without shoes


def draw_outfit(rng: np.random.Generator, *, is_female: bool) -> Outfit:
  """Clothes for one person."""
  has_skirt = rng.random() < (0.35 if is_female else 0.02)
  is_dress = rng.random() < 0.5
  # Anybody may wear a shirt that hangs over the hips.
  is_long = not has_skirt and rng.random() < 0.15
  sleeves = {"none": -0.18, "short": 0.55, "elbow": 0.95, "long": 1.92}
  sleeve = sleeves[rng.choice(list(sleeves), p=(0.15, 0.35, 0.1, 0.4))]
  sleeve += rng.uniform(-0.04, 0.04)
  legs = {"shorts": 0.6, "knee": 1.0, "cropped": 1.6, "long": 1.95}
  leg = legs[rng.choice(list(legs), p=(0.18, 0.1, 0.1, 0.62))]
  leg += rng.uniform(-0.1, 0.04)
  skirt = rng.uniform(0.45, 1.6) if has_skirt else -1.0
  if is_long:
    skirt = rng.uniform(0.0, 0.3)
  has_shoes, has_socks = rng.random() < 0.82, rng.random() < 0.6
  boots = rng.random() < 0.2
  is_dress = is_long or (has_skirt and is_dress)
  # Drawn in this order.
  outfit = Outfit(
    sleeve=sleeve,
    skirt=skirt,
    is_dress=is_dress,
    hem=rng.uniform(-0.9, -0.6) if is_dress else rng.uniform(-0.5, -0.2),
    neckline=str(rng.choice(list(_NECKLINES), p=list(_NECKLINES.values()))),
    looseness=float(rng.choice([0.001, 0.006, 0.014])) + rng.uniform(0, 0.005),
    is_tucked=rng.random() < 0.25 and not is_long,
    leg=rng.uniform(0.28, 0.4) if has_skirt else leg,
    flare=float(rng.choice([0.003, 0.012, 0.025])) * (skirt < 0),
    sock=rng.uniform(1.35, 1.85) if has_socks else 3.0,
    shoe=rng.uniform(1.5, 1.8) if boots else 2.12,
    sole=rng.uniform(0.008, 0.025),
  )
  barefoot = dataclasses.replace(outfit, shoe=3.0, sole=0.0)
  return outfit if has_shoes else barefoot


class Wardrobe:
  """Cuts outfits for the base mesh."""

  def __init__(self, anatomy: anatomies.Anatomy, regions: body.Regions):
    self._tights = anatomy.triangles["tights"]
    self._skirt = anatomy.triangles["skirt"]
    self._regions = regions
    self._points = anatomy.vertices
    self._side = np.where(anatomy.vertices[:, 0] > 0, np.uint8(0), np.uint8(1))

  def make(
    self, outfit: Outfit, rng: np.random.Generator
  ) -> tuple[list[pieces.Piece], np.ndarray]:
    """Cuts an outfit.

    Args:
      outfit: what to make.
      rng: for folds.

    Returns:
      The pieces, and (v,) where skin is deep enough under cloth to be left
      out.
    """
    where, down, arm = self._regions, self._regions.down, self._regions.arm
    hem, waist = outfit.hem, outfit.hem - _OVERLAP
    if outfit.is_tucked:
      hem, waist = _WAIST + _OVERLAP, _WAIST
    depth = self._collar_depth(outfit)
    top = np.minimum(outfit.sleeve - where.reach, hem - down + 9 * arm)
    top = np.minimum(top, 6 * depth)
    bottom = np.minimum(down - waist, outfit.leg - down) - 9 * arm
    folds = rng.normal(0, _WRINKLES, (3, 3)).T, rng.uniform(0, 6.3, 3)
    upper = 0.002 + outfit.looseness
    lower = upper + _LAYER if outfit.is_tucked else 0.002
    if outfit.skirt >= 0:
      lower, skirt = 0.001, lower + 2 * _LAYER
      upper += 0 if outfit.is_tucked else 2 * _LAYER
    upper += 0 if outfit.is_tucked else _LAYER
    made = [
      self._make_top(top, outfit, upper, folds),
      self._make_bottom(bottom, outfit, lower, folds),
    ]
    if outfit.skirt >= 0:
      made.append(self._make_skirt(outfit, waist, skirt))
    made += self._make_pair("Sock", outfit.sock, -0.002)
    made += self._make_pair("Shoe", outfit.shoe, 0.004, outfit.sole)
    hidden = (top > _UNDER) & (depth > _COLLAR)
    hidden |= (bottom > _UNDER) | ((bottom > 0) & (top > 0))
    covered = min(outfit.shoe, outfit.sock)
    hidden |= (down > covered + _UNDER) & (arm < 0.5)
    return made, hidden

  def _collar_depth(self, outfit: Outfit) -> np.ndarray:
    """(v,) metres below the collar, about."""
    x, y, z = self._regions.neck.T
    match outfit.neckline:
      case "crew":
        depth = np.sqrt(x**2 + (y - 0.01) ** 2 + (z - 0.03) ** 2) - 0.088
      case "scoop":
        depth = np.sqrt(x**2 + (y - 0.01) ** 2 + (z - 0.055) ** 2) - 0.115
      case "vee":
        below = np.where(z > 0, y / 2.1, y)
        depth = np.sqrt((1.2 * x) ** 2 + below**2 + (z / 2) ** 2) - 0.085
      case _:
        depth = 0.02 - y
    # The head is above every collar.
    return np.minimum(depth, 0.025 - y)

  def _make_top(self, field, outfit, stand, folds) -> pieces.Piece:
    part = body.PARTS["Upper_Clothing"]
    piece = pieces.cut(self._tights, field, "top", part)
    reach = piece.mix(self._regions.reach).clip(0, 2)
    height = stand + 0.3 * outfit.looseness * reach
    height += self._fold(piece, folds) * 0.15 * (stand + outfit.looseness)
    return piece.stand_off(height)

  def _make_bottom(self, field, outfit, stand, folds) -> pieces.Piece:
    part = body.PARTS["Lower_Clothing"]
    piece = pieces.cut(self._tights, field, "bottom", part)
    down = piece.mix(self._regions.down).clip(0, outfit.leg)
    height = stand + outfit.flare * down / outfit.leg
    height += self._fold(piece, folds) * 0.1 * (stand + outfit.flare)
    return piece.stand_off(height)

  def _fold(self, piece, folds) -> np.ndarray:
    """(n,) wrinkles, about -1 to 1."""
    waves, phases = folds
    return np.sin(piece.mix(self._points) @ waves + phases).sum(1) / 2

  def _make_skirt(self, outfit, waist, stand) -> pieces.Piece:
    down = self._regions.down
    field = np.minimum(outfit.skirt - down, down - waist)
    surface, name = "skirt", "Lower_Clothing"
    if outfit.is_dress:
      surface, name = "top", "Upper_Clothing"
    piece = pieces.cut(self._skirt, field, surface, body.PARTS[name])
    return piece.stand_off(np.full(len(piece.corners), stand))

  def _make_pair(self, name, begin, stand, sole=0.0) -> list[pieces.Piece]:
    field = self._regions.down - begin - 9 * self._regions.arm
    if not (field > 0).any():
      return []
    sides = [body.PARTS[f"{side}_{name}"] for side in ("Left", "Right")]
    part = np.array(sides, np.uint8)[self._side]
    piece = pieces.cut(self._tights, field, name.lower(), part)
    height = piece.mix(self._points)[:, 1] - self._points[:, 1].min()
    drop = sole * (height < _SOLE)
    piece = piece.stand_off(np.full(len(piece.corners), stand))
    return [dataclasses.replace(piece, drop=drop.astype(np.float32))]
