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
# Heights in the standard pose, metres, between which hair comes to move with
# the shoulders, and to stand off them.
_LYING, _CLEAR = (0.5, 0.6), (0.56, 0.64)
_BROWS = (0.004, 0.006, 0.009)  # Metres from lower to upper edge.
_BROW_ENDS = (0.011, 0.056)  # From the middle, metres.
_BROW_CURVE = (0.011, 0.025, 0.041, 0.056), (0.7502, 0.7525, 0.754, 0.748)
_BROW_TAPER = (0.011, 0.016, 0.03, 0.056), (0.5, 1.0, 0.9, 0.15)
_TAPER = 0.03  # Metres from the hairline in which hair gets its thickness.


@dataclasses.dataclass(frozen=True)
class Haircut:
  """How somebody wears the hair."""

  thickness: float  # metres of hair on the skull; 0 is bald
  length: float  # metres, height down to which it hangs; 1 for not at all
  is_parted: bool  # strips beside the face hang in front of the shoulders
  brow: int  # which of the brows, thin to thick


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
  length = rng.uniform(0.28, 0.6) if is_long else 1.0
  return Haircut(
    thickness=0.0 if is_bald else float(thickness),
    length=float(length),
    is_parted=bool(is_long and rng.random() < 0.4),
    brow=int(rng.integers(len(_BROWS))),
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
    # Below the neck hair moves with the cloth it lies on.
    self._strips = np.unique(np.concatenate(strips))
    shell = np.unique(anatomy.triangles["tights"])
    gaps = np.linalg.norm(points[self._strips, None] - points[shell], axis=-1)
    self._cloth = shell[gaps.argmin(1)]
    self._lying = np.interp(points[self._strips, 1], _LYING, (1, 0))
    self._brows = [self._make_brows(width) for width in _BROWS]

  def lay(self, blended: np.ndarray) -> None:
    """Lets hair below the neck move with the shoulders it lies on.

    Args:
      blended: (v, 3, 4) transforms to the pose; changed in place.
    """
    fraction = self._lying[:, None, None]
    own, cloth = blended[self._strips], blended[self._cloth]
    blended[self._strips] = own + fraction * (cloth - own)

  def sew(self, values: np.ndarray) -> None:
    """Gives neighbouring strips the same values at their seams, in place."""
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
    made = [self._brows[haircut.brow]]
    if not haircut.thickness:
      return made
    part = body.PARTS["Hair"]
    scalp = pieces.cut(self._head, self._regions.scalp, "hair", part)
    inside = scalp.mix(self._regions.scalp)
    height = haircut.thickness * np.clip(inside / _TAPER, 0.08, 1)
    wave = scalp.mix(self._points) @ rng.normal(0, 40, 3)
    height *= 1 + 0.15 * np.sin(wave + rng.uniform(0, 6.3))
    made.append(scalp.stand_off(height + 0.001))
    if haircut.length < 1:
      strips = [self._back] + [self._front] * haircut.is_parted
      field = self._points[:, 1] - haircut.length
      hanging = pieces.cut(np.concatenate(strips), field, "hair", part)
      below = np.interp(hanging.mix(self._points)[:, 1], _CLEAR, (1, 0))
      made.append(hanging.stand_off(haircut.thickness / 2 + clearance * below))
    return made

  def _make_brows(self, width: float) -> pieces.Piece:
    """Ribbons on the skin above the eyes."""
    across = np.linspace(*_BROW_ENDS, 9)
    middle = np.interp(across, *_BROW_CURVE)
    half = width / 2 * np.interp(across, *_BROW_TAPER)
    rows = [np.stack([across, middle + side * half], 1) for side in (-1, 0, 1)]
    left = np.concatenate(rows)
    grid = np.arange(27).reshape(3, 9)
    quads = [grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]]
    a, b, c, d = (corner.reshape(-1) for corner in quads)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    corners, fractions = _project(
      np.concatenate([left, left * (-1, 1)]), self._points, self._head
    )
    brows = pieces.attach(
      corners,
      fractions,
      np.concatenate([triangles, triangles[:, ::-1] + len(left)]),
      "brows",
      body.PARTS["Face_Neck"],
    )
    return brows.stand_off(np.full(len(corners), 0.001))


def _project(
  places: np.ndarray, points: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Where lines straight from the front first meet a mesh.

  Args:
    places: (n, 2) metres, across and up.
    points: (v, 3) metres.
    triangles: (f, 3).

  Returns:
    (n, 3) vertices of the triangles met, and (n, 3) barycentric fractions.
  """
  seen = points[triangles].astype(np.float64)
  area = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])[:, 2]
  is_front = (seen[..., 2] > 0.05).all(1) & (area > 1e-9)
  triangles, area = triangles[is_front], area[is_front, None].T
  a, b, c = np.moveaxis(seen[is_front], 1, 0)
  edges = np.stack([b - a, c - a], -1)[:, :2]
  off = places[:, None] - a[:, :2]
  second = (off[..., 0] * edges[:, 1, 1] - off[..., 1] * edges[:, 0, 1]) / area
  third = (off[..., 1] * edges[:, 0, 0] - off[..., 0] * edges[:, 1, 0]) / area
  fractions = np.stack([1 - second - third, second, third], -1)
  height = (fractions * np.stack([a, b, c], 1)[..., 2]).sum(-1)
  height[(fractions < -1e-6).any(-1)] = -np.inf
  front = height.argmax(1)
  found = fractions[np.arange(len(places)), front].astype(np.float32)
  return triangles[front].astype(np.int64), found


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
