"""Draws where the 308 keypoints lie on the body, a PNG a group, for review.

Run:  python -m data_pipelines.synthetic.draw_keypoints \
        --output docs/keypoints [--assets DIR]

A dot bears the keypoint's number; the list beside it gives the names. Orange
dots are guesses (`doubt` in keypoint_vertices.json). Dots are drawn whether
or not something hides them. Pictures of that name are written over.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_pipelines import vocabulary
from data_pipelines.common import command, files
from data_pipelines.synthetic import assets, keypoints, makehuman, scene

_VIEW = 720  # Pixels, width and height of one view.
_LIST = 330  # Pixels, width of the list of names.
_LIGHT = np.array([0.35, 0.45, 0.82])
_SURE, _GUESS, _INK = (20, 90, 200), (235, 120, 0), (20, 20, 20)
_FRONT, _BACK = (0, 0), (180, 0)
_DRAWN = ("body", "helper-l-eye", "helper-r-eye")


@dataclasses.dataclass(frozen=True)
class Panel:
  """A picture."""

  name: str  # of the file
  ids: Sequence[int]  # the keypoints on it
  # Degrees (yaw to the body's left, pitch up) it is seen from.
  views: Sequence[tuple[float, float]] = (_FRONT,)
  margin: float = 0.25  # around the points, a fraction of their extent


def panels() -> list[Panel]:
  """The pictures; together they show every keypoint."""
  groups = vocabulary.keypoints()["groups"]
  body = (*groups["body17"], *groups["extra7"])
  left_hand = (*groups["left_hand20"], 62)
  right_hand = (*groups["right_hand20"], 41)
  return [
    Panel("body", body, (_FRONT, _BACK), 0.1),
    Panel("feet", (*groups["foot6"], 13, 14), ((0, 40), (90, 0))),
    Panel("left_hand", left_hand, ((115, 30), (-60, -20))),
    Panel("right_hand", right_hand, ((-115, 30), (60, -20))),
    Panel("middle_of_face", (0, 1, 2, *range(69, 78)), (_FRONT, (90, 0))),
    Panel("brows", range(78, 96), (_FRONT, (35, 10))),
    Panel("left_eye_upper", (*range(96, 120),), margin=0.2),
    Panel("left_eye_lower", (*range(144, 161),)),
    Panel("right_eye_upper", (*range(120, 144),), margin=0.2),
    Panel("right_eye_lower", (*range(161, 178),)),
    Panel("left_iris_and_pupil", (*range(272, 281), *range(290, 299))),
    Panel("right_iris_and_pupil", (*range(281, 290), *range(299, 308))),
    Panel("nose", range(178, 188), (_FRONT, (0, -55))),
    Panel("outer_lips", range(188, 204), (_FRONT, (35, 0))),
    Panel("inner_lips", range(204, 220)),
    Panel("left_ear", (3, *range(220, 246)), ((70, 0), (30, 0))),
    Panel("right_ear", (4, *range(246, 272)), ((-70, 0), (-30, 0))),
  ]


def draw_panel(
  panel: Panel, vertices: np.ndarray, triangles: np.ndarray
) -> Image.Image:
  """One picture: the views side by side, the names at the right.

  Args:
    panel: what to draw.
    vertices: (19158, 3) float, all of base.obj.
    triangles: (f, 3) int, the faces to be seen.
  """
  positions = keypoints.keypoint_positions(vertices)[list(panel.ids)]
  pages = []
  for yaw, pitch in panel.views:
    up, left = np.deg2rad([pitch, yaw])
    turn = scene.rotate(0, up) @ scene.rotate(1, -left)
    points = positions @ turn.T
    low, high = points.min(0), points.max(0)
    extent = (high - low)[:2].max() * (1 + 2 * panel.margin)
    scale = _VIEW / extent

    def to_pixels(at, middle=(low + high) / 2, scale=scale):
      return _VIEW / 2 + (at - middle)[..., :2] * (scale, -scale)

    seen = vertices @ turn.T
    pages.append(_shade(to_pixels(seen), seen, triangles))
    _mark(pages[-1], panel.ids, to_pixels(points))
  sheet = Image.new("RGB", (_VIEW * len(pages) + _LIST, _VIEW), "white")
  for place, page in enumerate(pages):
    sheet.paste(page, (_VIEW * place, 0))
  _write_names(sheet, panel.ids, _VIEW * len(pages))
  return sheet.quantize(255, Image.Quantize.FASTOCTREE)


def _shade(
  pixels: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> Image.Image:
  """The mesh in grey, far faces first; drawn twice as large, then halved."""
  a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
  normals = np.cross(b - a, c - a)
  is_front = normals[:, 2] > 0
  triangles, normals = triangles[is_front], normals[is_front]
  normals /= np.linalg.norm(normals, axis=1, keepdims=True)
  corners = pixels[triangles]
  is_inside = ((corners.max(1) > 0) & (corners.min(1) < _VIEW)).all(1)
  order = np.flatnonzero(is_inside)
  order = order[np.argsort(vertices[triangles[order], 2].mean(1))]
  canvas = np.full((2 * _VIEW, 2 * _VIEW), 255, np.uint8)
  grey = 75 + 160 * np.clip(normals @ _LIGHT, 0, 1)
  for face in order:
    polygon = np.round(corners[face] * 32).astype(np.int32)  # 2 * 2**4
    cv2.fillConvexPoly(canvas, polygon, grey[face], cv2.LINE_AA, 4)
  small = cv2.resize(canvas, (_VIEW, _VIEW), interpolation=cv2.INTER_AREA)
  return Image.fromarray(small).convert("RGB")


def _mark(page: Image.Image, ids: Sequence[int], pixels: np.ndarray) -> None:
  """Puts dots and numbers; lines lead from a number to its dot."""
  draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
  labels = _place_labels(pixels)
  for dot, label in zip(pixels, labels):
    draw.line([*dot, *label], fill=(150, 60, 60), width=1)
  for index, (x, y) in zip(ids, pixels):
    draw.ellipse([x - 3.5, y - 3.5, x + 3.5, y + 3.5], _color(index), "white")
  for index, at in zip(ids, labels):
    around = {"stroke_width": 2, "stroke_fill": "white"}
    draw.text(at, str(index), _INK, font, "mm", **around)


def _place_labels(pixels: np.ndarray) -> np.ndarray:
  """Pushes labels away from each other and from the dots."""
  # Dots in one place get labels in two.
  turn = np.arange(len(pixels))
  outward = pixels - pixels.mean(0) + np.stack([np.cos(turn), np.sin(turn)], 1)
  outward /= np.linalg.norm(outward, axis=1, keepdims=True)
  labels = pixels + 20 * outward
  shape = np.array([1.0, 1.6])  # Numbers are wider than high.
  for _ in range(200):
    for others, room in ((labels, 30), (pixels, 21)):
      apart = (labels[:, None] - others[None]) * shape
      distance = np.linalg.norm(apart, axis=-1)
      if others is labels:
        np.fill_diagonal(distance, np.inf)
      push = np.clip(room - distance, 0, None) / (distance + 1e-6)
      labels = labels + 0.1 * (push[..., None] * apart).sum(1)
    labels = np.clip(labels + 0.01 * (pixels - labels), 14, _VIEW - 14)
  return labels


def _write_names(sheet: Image.Image, ids: Iterable[int], left: int) -> None:
  names, ids = vocabulary.keypoints()["names"], sorted(ids)
  draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
  step = min(26, (_VIEW - 20) / len(ids))
  for row, index in enumerate(ids):
    text = f"{index} {names[index]}"
    draw.text((left + 12, 10 + row * step), text, _color(index), font)


def _color(index: int) -> tuple[int, int, int]:
  name = vocabulary.keypoints()["names"][index]
  return _GUESS if name in keypoints.keypoint_table().doubts else _SURE


def draw_all(mesh: makehuman.BaseMesh, output: pathlib.Path) -> list[str]:
  """Draws every picture into a directory; returns their names."""
  triangles = np.concatenate([mesh.triangles[name] for name in _DRAWN])
  written = []
  for panel in panels():
    path = output / f"{panel.name}.png"
    picture = draw_panel(panel, mesh.vertices.astype(np.float64), triangles)
    with files.whole_path(path) as partial:
      picture.save(partial, "PNG", optimize=True)
    written.append(path.name)
  return written


def main(arguments: Sequence[str] | None = None) -> int:
  parser = command.make_parser(
    "python -m data_pipelines.synthetic.draw_keypoints",
    __doc__.splitlines()[0],
  )
  parser.add_argument("--output", required=True, type=pathlib.Path)
  parser.add_argument("--assets", help="where the body is kept, or shall be")
  given = parser.parse_args(arguments)

  def work() -> None:
    found = assets.find_assets(given.assets)
    written = draw_all(makehuman.read_mesh(found.base_mesh), given.output)
    print(f"{given.output}: {len(written)} pictures")

  return command.run("draw_keypoints", work)


if __name__ == "__main__":
  command.start(main)
