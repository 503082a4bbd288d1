"""Hair: a cap of the scalp, longer hair from MakeHuman's strips, brows."""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.synthetic import anatomy as anatomies
from data_pipelines.synthetic import pieces
from data_pipelines.synthetic import regions as body

# Strips that hang from the crown over the face are not used.
_LOWEST_OF_FACE = 0.5  # Metres; theirs end above this.
_SEAM = 0.03  # Metres; strips nearer than this are sewn together.
_NECK = (0.6, 0.66)  # Heights in the standard pose, metres.
_TAPER = 0.03  # Metres from the hairline in which hair gets its thickness.


@dataclasses.dataclass(frozen=True)
class Haircut:
  """How somebody wears the hair.

  Attributes:
    thickness: metres of hair on the skull; 0 is bald.
    length: down to which height of the standard pose it hangs, metres; 1 for
      not at all.
    is_parted: strips beside the face hang in front of the shoulders.
    brow: metres brows are thicker than usual.
  """

  thickness: float
  length: float
  is_parted: bool
  brow: float


def draw_haircut(
  rng: np.random.Generator, *, is_female: bool, age: float
) -> Haircut:
  """Hair for one person."""
  is_bald = not is_female and age > 25 and rng.random() < 0.15
  is_long = rng.random() < (0.6 if is_female else 0.08)
  thickness = rng.choice([0.004, 0.012, 0.025]) * rng.uniform(0.8, 1.3)
  if is_long:
    thickness = rng.uniform(0.006, 0.014)
  elif rng.random() < 0.08:
    thickness = rng.uniform(0.04, 0.08)
  return Haircut(
    0.0 if is_bald else float(thickness),
    float(rng.uniform(0.28, 0.66)) if is_long else 1.0,
    bool(rng.random() < 0.4),
    float(rng.uniform(-0.001, 0.001)),
  )


class Barber:
  """Cuts hair for the base mesh."""

  def __init__(self, anatomy: anatomies.Anatomy, regions: body.Regions):
    points = anatomy.vertices
    self._points = points
    self._regions = regions
    skin = anatomy.triangles["body"]
    self._head = skin[(points[skin][:, :, 1] > 0.6).any(1)]
    strips = _split(anatomy.triangles["hair"])
    strips = [
      strip for strip in strips if points[strip][..., 1].min() < _LOWEST_OF_FACE
    ]
    is_back = [points[strip][..., 2].min() < -0.02 for strip in strips]
    self._back = np.concatenate([s for s, b in zip(strips, is_back) if b])
    self._front = np.concatenate([s for s, b in zip(strips, is_back) if not b])
    self._seams = _find_seams(points, strips)

  def sew(self, values: np.ndarray) -> None:
    """Gives vertices of neighbouring strips the same values, in place."""
    one, other = self._seams
    values[one] = values[other] = (values[one] + values[other]) / 2

  def make(
    self, haircut: Haircut, rng: np.random.Generator, *, clearance: float
  ) -> list[pieces.Piece]:
    """Hair and brows.

    Args:
      haircut: what to make.
      rng: for waves.
      clearance: metres by which what hangs stays off the shoulders.
    """
    made = [self._make_brows(haircut)]
    if not haircut.thickness:
      return made
    part = body.PARTS["Hair"]
    scalp = pieces.cut(self._head, self._regions.scalp, "hair", part)
    inside = scalp.mix(self._regions.scalp)
    height = haircut.thickness * np.clip(inside / _TAPER, 0.08, 1)
    wave = scalp.mix(self._points) @ rng.normal(0, 40, 3)
    height *= 1 + 0.15 * np.sin(wave + rng.uniform(0, 6.3))
    made.append(_raise(scalp, height + 0.001))
    if haircut.length < 1:
      strips = [self._back] + [self._front] * haircut.is_parted
      field = self._points[:, 1] - haircut.length
      hanging = pieces.cut(np.concatenate(strips), field, "hair", part)
      below = np.interp(hanging.mix(self._points)[:, 1], _NECK, (1, 0))
      made.append(_raise(hanging, haircut.thickness / 2 + clearance * below))
    return made

  def _make_brows(self, haircut: Haircut) -> pieces.Piece:
    field = self._regions.brow + haircut.brow
    face = body.PARTS["Face_Neck"]
    brows = pieces.cut(self._head, field, "brows", face)
    return _raise(brows, np.full(len(brows.first), 0.0008))


def _raise(piece: pieces.Piece, height: np.ndarray) -> pieces.Piece:
  return dataclasses.replace(piece, height=height.astype(np.float32))


def _split(triangles: np.ndarray) -> list[np.ndarray]:
  """Triangles -> those of each connected strip."""
  label = np.arange(triangles.max() + 1)
  while True:
    lowest = label[triangles].min(1)
    before = label.copy()
    np.minimum.at(label, triangles, lowest[:, None])
    if (before == label).all():
      break
  names = label[triangles[:, 0]]
  return [triangles[names == name] for name in np.unique(names)]


def _find_seams(
  points: np.ndarray, strips: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of nearest vertices of neighbouring strips, each used once."""
  owner = {int(v): n for n, strip in enumerate(strips) for v in strip.flat}
  vertices = np.array(sorted(owner))
  strip = np.array([owner[vertex] for vertex in vertices])
  gaps = np.linalg.norm(points[vertices, None] - points[vertices], axis=-1)
  gaps[strip[:, None] == strip] = np.inf
  nearest = gaps.argmin(1)
  number = np.arange(len(vertices))
  is_pair = (nearest[nearest] == number) & (number < nearest)
  is_pair &= gaps.min(1) < _SEAM
  return vertices[is_pair], vertices[nearest[is_pair]]
