"""Where people, camera and lights are: drawn at random for each image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines import vocabulary
from data_pipelines.synthetic.mesh import PersonMesh, find_bounds

CLOSEST = 0.3  # metres from the camera's plane to anybody's nearest point
# What the picture is to show, and how often.
FRAMINGS = {"full": 0.5, "half": 0.3, "portrait": 0.2}
_NUM_PEOPLE = (0.62, 0.26, 0.12)  # one, two, three
_STRIDE = 8  # Each so many vertices say where a person is.
_HEAD = ("Face_Neck", "Hair")


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
  """A pinhole: point @ rotation.T + translation are its coordinates."""

  intrinsics: np.ndarray  # (3, 3) pixels, 0 at the centre of the first one
  rotation: np.ndarray  # (3, 3), from the world to x right, y down, z away
  translation: np.ndarray  # (3,) metres

  def see(self, points: np.ndarray) -> np.ndarray:
    """Points of the world, (n, 3) metres, in the camera's coordinates."""
    return points @ self.rotation.T + self.translation


@dataclasses.dataclass(frozen=True, eq=False)
class Lights:
  """What shines, in linear RGB; directions are those of the world."""

  sky: np.ndarray  # (3,) light from straight above, of an even dome
  ground: np.ndarray  # (3,) light from below
  directions: np.ndarray  # (l, 3) unit, to far lamps; the first casts shadows
  colors: np.ndarray  # (l, 3)
  softness: np.ndarray  # (l,) in [0, 1], how far a lamp shines around a body


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
  """People of the world, y up and the ground at 0, before a camera."""

  # With vertices, normals and keypoints of the world; `rest` as it was.
  people: tuple[PersonMesh, ...]
  camera: Camera  # that sees them
  lights: Lights  # on them


def draw_count(rng: np.random.Generator) -> int:
  """Draws how many people an image shows, 1 to 3."""
  return 1 + int(rng.choice(len(_NUM_PEOPLE), p=_NUM_PEOPLE))


def draw_scene(
  rng: np.random.Generator, people: Sequence[PersonMesh], size: tuple[int, int]
) -> Scene:
  """Places people, and aims a camera and lamps at them.

  All are before the camera; they may reach out of the image.

  Args:
    rng: decides.
    people: at least one, each near the origin.
    size: height and width of the image in pixels.

  Raises:
    ValueError: nobody is there.
  """
  if not people:
    raise ValueError("people: nobody is there, expected at least one.")
  framing = str(rng.choice(list(FRAMINGS), p=list(FRAMINGS.values())))
  placed = _place_people(rng, people)
  camera = _draw_camera(rng, placed, size, framing)
  return Scene(placed, camera, _draw_lights(rng))


def place(
  mesh: PersonMesh, turn: float, spot: tuple[float, float]
) -> PersonMesh:
  """Puts a person somewhere on the ground.

  Args:
    mesh: near the origin.
    turn: radians around the vertical, seen from above to the left.
    spot: x and z in metres of the middle of the space it takes up.
  """
  low, high = find_bounds(mesh.vertices)
  centre = (low + high) / 2 * [1, 0, 1]
  cosine, sine = math.cos(turn), math.sin(turn)
  rotation = np.float32([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
  offset = np.array([spot[0], 0, spot[1]]) - rotation @ centre

  def moved(points: np.ndarray) -> np.ndarray:
    return points @ rotation.T + offset.astype(np.float32)

  return dataclasses.replace(
    mesh,
    vertices=moved(mesh.vertices),
    normals=mesh.normals @ rotation.T,
    keypoints=moved(mesh.keypoints),
  )


def _place_people(
  rng: np.random.Generator, people: Sequence[PersonMesh]
) -> tuple[PersonMesh, ...]:
  """One in the middle, the others beside or behind it, mostly apart."""
  placed, circles = [], []
  for mesh in people:
    # Faces are what most tasks are about: most people look to the camera.
    turn = rng.normal(0, 0.7) if rng.random() < 0.8 else rng.uniform(-3.2, 3.2)
    flat = mesh.vertices[::_STRIDE, ::2]
    distances = np.linalg.norm(flat - sum(find_bounds(flat)) / 2, axis=1)
    # A stretched arm may overlap: a circle around all of it is too wide.
    radius = 0.8 * float(np.quantile(distances, 0.97))
    direction = rng.uniform(-1, 1), 0.6 * rng.uniform(-1, 0.3)
    direction = np.array(direction) / np.hypot(*direction)
    reach = 0.0
    while any(
      math.dist(reach * direction, other) < radius + distance
      for other, distance in circles
    ):
      reach += rng.uniform(0.02, 0.15)
    spot = tuple(reach * direction)
    circles.append((spot, radius))
    placed.append(place(mesh, turn, spot))
  return tuple(placed)


def _find_targets(framing: str, people: Sequence[PersonMesh]) -> np.ndarray:
  """The points, (n, 3), that the picture is to show."""
  if framing == "full":
    return np.concatenate([mesh.vertices[::_STRIDE] for mesh in people])
  mesh = people[0]
  names = vocabulary.parts()["names"]
  is_head = np.isin(mesh.parts, [names.index(name) for name in _HEAD])
  corners = mesh.triangles[is_head if is_head.any() else slice(None), 0]
  head = mesh.vertices[corners].mean(0)
  stature = np.ptp(mesh.rest[:, 1])
  reach = {"half": 0.42, "portrait": 0.16}[framing] * stature
  near = np.linalg.norm(mesh.vertices - head, axis=1) < reach
  return mesh.vertices[near if near.any() else slice(None)]


def _draw_camera(
  rng: np.random.Generator,
  people: Sequence[PersonMesh],
  size: tuple[int, int],
  framing: str,
) -> Camera:
  height, width = size
  # Of the longer side: from a wide angle to a telephoto lens.
  field_of_view = math.radians(math.exp(rng.uniform(*np.log([22.0, 70.0]))))
  focal = max(size) / 2 / math.tan(field_of_view / 2)
  across = np.array([width, height])
  middle = (across - 1) / 2 + rng.normal(0, 0.01, 2) * across
  intrinsics = np.diag([focal, focal * rng.normal(1, 0.002), 1.0])
  intrinsics[:2, 2] = middle
  yaw, pitch, roll = rng.normal(0, (0.3, 0.13, 0.04)) + (0, 0.06, 0)
  axes = rotate(2, roll) @ rotate(0, pitch)
  axes = axes @ np.diag([1, -1, -1]) @ rotate(1, yaw)
  targets = _find_targets(framing, people) @ axes.T
  low, high = find_bounds(targets)
  aim = (low + high) / 2 + rng.normal(0, 0.05, 3) * (high - low) * (1, 1, 0)
  # The nearest place from which they fill so much of the image.
  share = (0.7, 1.05) if framing == "full" else (0.75, 1.15)
  slopes = across / 2 / focal * rng.uniform(*share)
  from_aim = targets - aim
  away = np.max(np.abs(from_aim[:, :2]) / slopes - from_aim[:, 2:])
  nearest = min(float((mesh.vertices @ axes[2]).min()) for mesh in people)
  away = max(away, CLOSEST - (nearest - aim[2]))
  translation = np.array([0, 0, away]) - aim
  return Camera(intrinsics.astype(np.float32), axes, translation)


def rotate(axis: int, angle: float) -> np.ndarray:
  """(3, 3), a rotation around one axis in radians."""
  first, second = (axis + 1) % 3, (axis + 2) % 3
  out = np.eye(3)
  out[first, first] = out[second, second] = math.cos(angle)
  out[first, second], out[second, first] = -math.sin(angle), math.sin(angle)
  return out


def _draw_lights(rng: np.random.Generator) -> Lights:
  count = int(rng.integers(1, 4))
  azimuth = rng.normal(0, 1.2, count)  # Around the camera's side.
  height = np.radians(rng.uniform(5, 70, count))
  right, up, back = np.sin(azimuth), np.sin(height), np.cos(azimuth)
  level = np.cos(height)
  directions = np.stack([right * level, up, back * level], axis=-1)
  strengths = rng.uniform(0.3, 1.0) * np.array([1.0, 0.45, 0.3])[:count]
  exposure = rng.uniform(0.75, 1.25)
  tints = _draw_tints(rng, count + 2)
  ambient = rng.uniform(0.35, 0.8)
  return Lights(
    sky=exposure * ambient * tints[-1],
    ground=exposure * ambient * rng.uniform(0.3, 0.8) * tints[-2],
    directions=directions,
    colors=exposure * strengths[:, None] * tints[:count],
    softness=rng.uniform(0, 0.5, count),
  )


def _draw_tints(rng: np.random.Generator, count: int) -> np.ndarray:
  """(count, 3) of about mean 1, from candle light to blue sky."""
  warmth = rng.normal(0, 0.12, (count, 1))
  green = rng.normal(0, 0.02, (count, 1))
  return np.exp(warmth * [1, 0.1, -1] + green * [0, 1, 0])
